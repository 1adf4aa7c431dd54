"""Stopping a run by Ctrl-C or SIGTERM without losing its place."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from toughen.errors import ToughenError


class Interrupted(ToughenError):
    """Raised when a run was asked to stop and has saved itself; the message holds the command that goes on with it."""


@contextmanager
def stop_requests(launched: bool = False) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that the loop can honour; a second one acts at once.

    Signals belong to the main thread: elsewhere nothing is requested.

    Args:
        launched: whether a launcher such as torchrun started this process: it passes on the terminal's Ctrl-C, which
            arrives twice then, and kills by itself a process that does not stop.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        if not launched:
            signal.signal(number, previous[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def any_of(stop: bool, accelerator: Accelerator) -> bool:
    """Whether any process is to stop; all processes ask it together."""
    if accelerator.num_processes == 1:
        return stop
    return bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device), reduction="sum") > 0)


def first_of(found: str | None, accelerator: Accelerator) -> str | None:
    """What the first of the processes that found something has found; all processes ask it together."""
    if not any_of(found is not None, accelerator):
        return None
    return next(each for each in gather_object([found]) if each is not None)
