"""Signals that ask a process to stop: Ctrl-C, and those of schedulers, terminals and `kill`."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; `kill`, torchrun and most schedulers; a terminal that is closed; SLURM's `--signal=USR1`."""


@contextmanager
def asked_to_stop(first: Callable[[], None], launched: bool = False) -> Iterator[None]:
    """Call `first` at the first signal that asks the process to stop, inside; a second one ends the process at once.

    Signals belong to the main thread: elsewhere nothing is called. What is ignored stays so, as SIGHUP under nohup.

    Args:
        first: called in the main thread, between two of its steps.
        launched: whether a launcher such as torchrun started this process: it passes on the terminal's Ctrl-C, which
            arrives twice then, and kills by itself a process that does not stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and not launched:
            end_at_once(number)
        asked = True
        first()

    usual = {number: signal.getsignal(number) for number in _ASKING}
    replaced = {number: handler for number, handler in usual.items() if handler not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests(launched: bool = False) -> Iterator[Callable[[], bool]]:
    """Inside, tell whether a signal has asked the process to stop; see `asked_to_stop`."""
    requested = False

    def request() -> None:
        nonlocal requested
        requested = True

    with asked_to_stop(request, launched):
        yield lambda: requested


def interrupt() -> None:
    """What Python does at Ctrl-C, for every signal that asks to stop.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


def end_at_once(number: int) -> None:
    """End this process with the status of a signal, and the processes that decode images for it."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + number)
