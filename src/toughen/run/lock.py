"""Who is at work in a folder: one process at a time, the others are told which."""

import json
import os
import socket
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from toughen.errors import RunError, ToughenWarning
from toughen.run.files import LOCK, cannot_write

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # Windows has none


class InUse(RunError):
    """Another process is at work in a folder."""


class Lock:
    """A lock on a folder, which its process loses when it ends, however it ends; a context manager.

    The file says which host and process hold it and since when. What a killed process left is taken over: the system
    knows that nobody holds it any more, on network file systems too. A folder that was not there is made, and taken
    away again where nothing came into it.

    Args:
        folder: the folder.
        name: of the file in it.
        wait: until it is free, in place of an error.

    Raises:
        InUse: another process holds it.
        RunError: the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str = LOCK, wait: bool = False) -> None:
        self.folder, self.path, self.wait = folder, folder / name, wait
        self._handles: list[int] = []
        self._made: list[Path] = []

    def __enter__(self) -> "Lock":
        self._made = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        self.renew()
        return self

    def renew(self) -> None:
        """Hold the lock in the folder that has this name now, as when another took its place."""
        try:
            while not self._holds_what_is_there():
                self.folder.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
                try:
                    self._check_own(handle)
                    self._take(handle)
                except BaseException:
                    os.close(handle)
                    raise
                self._handles.append(handle)
                me = {"host": socket.gethostname(), "process": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M}"}
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(me).encode(), 0)
        except OSError as error:
            if self.path.is_symlink():
                raise self._leads_elsewhere() from error
            raise cannot_write(self.path, error) from error

    def _check_own(self, handle: int) -> None:
        """Raise where another file has this name too, which writing who holds the lock would destroy."""
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise self._leads_elsewhere()

    def _leads_elsewhere(self) -> RunError:
        return RunError(f"{self.path} is no lock but leads to something else, which it would overwrite; delete it")

    def _holds_what_is_there(self) -> bool:
        """Whether the file of this name is held: whoever held it before may have deleted it meanwhile."""
        with suppress(FileNotFoundError):
            there = self.path.stat()
            return any(os.path.samestat(os.fstat(handle), there) for handle in self._handles)
        return False

    def _take(self, handle: int) -> None:
        if fcntl is None:
            return
        try:
            # Not inherited by the processes that decode images, which outlive a killed one for a while.
            fcntl.lockf(handle, fcntl.LOCK_EX | (0 if self.wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError) as error:
            raise InUse(
                f"{self.folder} is in use: {_who(os.pread(handle, 1000, 0))}; wait for that, stop it, or give another "
                "folder with --out"
            ) from error
        except OSError as error:
            warnings.warn(
                f"{self.folder} is on a disk without locks ({error.strerror}): see to it that one process is at work "
                "there",
                ToughenWarning,
                stacklevel=4,
            )

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            if self._holds_what_is_there():
                self.path.unlink()
        for handle in self._handles:
            os.close(handle)
        self._handles.clear()
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def _who(said: bytes) -> str:
    """Whoever holds a lock, from what its file says."""
    try:
        facts = json.loads(said)
        return f"process {int(facts['process'])} on {facts['host']} has been at work there since {facts['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process is at work there"


@contextmanager
def at_work(folder: Path, first: bool = True) -> Iterator[Lock | None]:
    """Hold a folder's lock in the first of several processes."""
    if not first:
        yield None
        return
    with Lock(folder) as lock:
        yield lock
