"""Tasks that several processes, on one machine or on many that share a disk, work off together.

What a task is, and which are left, is the caller's: the trials of a sweep, or a list of runs. Here only one process at
a time gets each, and what a killed one leaves is free again.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from toughen.errors import RunError, ToughenWarning
from toughen.run.lock import InUse, Lock

T = TypeVar("T")


@contextmanager
def claimed(
    folder: Path, left: Callable[[], Iterator[T]], name: Callable[[T], str], is_left: Callable[[T], bool]
) -> Iterator[T | None]:
    """The first task that nobody is at work on; it is this process's while the block runs.

    Args:
        folder: where the locks of the tasks lie, seen by all processes.
        left: the tasks that are not done. It is looked through while no other process claims one, so that it may make
            new ones too, as far as they are asked for.
        name: of a task, unique.
        is_left: whether a task is not done, asked anew once this process holds it: its worker may have ended it after
            `left` had looked. Whoever ends a task says so before the block ends.

    Yields:
        The task; None where none is left, or others are at work on all of them.

    Raises:
        RunError: the disk has no locks, or cannot be written.
    """
    with ExitStack() as held:
        with _insisting_on_locks(folder), Lock(folder, ".queue.lock", wait=True):
            task = next((each for each in left() if _taken(held, folder, name(each), partial(is_left, each))), None)
        yield task


def _taken(held: ExitStack, folder: Path, name: str, is_left: Callable[[], bool]) -> bool:
    with ExitStack() as own:
        try:
            own.enter_context(Lock(folder, f".{name}.lock"))
        except InUse:
            return False
        if not is_left():
            return False
        held.push(own.pop_all())
    return True


@contextmanager
def _insisting_on_locks(folder: Path) -> Iterator[None]:
    """Without locks two processes would do the same task."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToughenWarning)
        try:
            yield
        except ToughenWarning as error:
            raise RunError(
                f"{folder} is on a disk without locks, by which workers know each other's tasks; give a folder with "
                "--out on a disk that has them"
            ) from error
