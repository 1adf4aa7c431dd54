"""A side of a benchmark in a process of its own, so that no side profits or suffers from another one's memory."""

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from common import Clock, seconds_of
from toughen.hardware.memory import peak_memory
from toughen.hardware.speed import FlopCounter

Build = Callable[..., Callable[[], object]]
"""From an ExitStack and arguments to what is timed; a function of a module, as it is called in the other process."""


class Worker:
    """One side: what `build(stack, *arguments)` gives, called as often as asked.

    Args:
        build: sets the side up; `stack` closes what it opens.
        arguments: of `build`.
        threads: of torch.
        clock: the time that is taken.
    """

    def __init__(self, build: Build, *arguments: Any, threads: int, clock: Clock) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, build, arguments, threads, clock), daemon=True)
        self._process.start()
        other.close()
        self._answer()

    def seconds(self) -> float:
        """How long one call takes."""
        return self._ask("seconds")

    def flops(self) -> int:
        """Floating-point operations of one call, of matrix products and convolutions."""
        return self._ask("flops")

    def grown(self) -> int:
        """By how many bytes the process's peak has grown since the side was set up."""
        return self._ask("grown")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.send("stop")
        self._process.join()

    def _ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(f"a side of the benchmark failed:\n{answer}")
        return answer


def _serve(pipe: Connection, build: Build, arguments: tuple[Any, ...], threads: int, clock: Clock) -> None:
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            action = build(stack, *arguments)
            before = _resident()
            pipe.send(None)
            while (question := pipe.recv()) != "stop":
                match question:
                    case "seconds":
                        pipe.send(seconds_of(action, clock))
                    case "flops":
                        with FlopCounter() as counter:
                            action()
                        pipe.send(counter.flops)
                    case "grown":
                        pipe.send(peak_memory(_device()) - before)
    except Exception:
        pipe.send(traceback.format_exc())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _resident() -> int:
    if _device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    import psutil

    return psutil.Process().memory_info().rss
