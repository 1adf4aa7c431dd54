"""Files and folders that are there whole or not at all, also after a kill or a loss of power."""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from toughen.errors import RunError


@contextmanager
def atomic(path: Path, keep: Path | None = None) -> Iterator[Path]:
    """A temporary file or folder name beside `path` that takes its place when the block ends without an error.

    What was written is on the disk before it gets its name, so that not even a loss of power leaves half a file. It may
    be read by whoever may read any other new file there: some libraries write for the owner alone.

    Args:
        path: the file or folder.
        keep: where an earlier folder goes, in place of one that is there; default nowhere.

    Raises:
        RunError: the disk cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        _open_up(temporary, temporary_beside(path))
        _on_disk(temporary)
        if temporary.is_dir() and path.is_dir():
            old = path.with_name(f".{path.name}.old") if keep is None else keep
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
            temporary.rename(path)
            if keep is None:
                shutil.rmtree(old)
        else:
            temporary.replace(path)
        _names_on_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder; nothing where there is none.

    Raises:
        OSError: it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A free name in the folder of `path`, which is made where it is missing.

    Raises:
        RunError: the folder cannot be written.
    """
    return writable(path.parent) / f".{path.name}.{secrets.token_hex(4)}"


def check_links(run: Path) -> None:
    """Raise where a folder in a run's is a link out of it: what is written and deleted there would be so elsewhere.

    The run's own folder may be one, and wandb links one within to another.

    Raises:
        RunError: naming the link.
    """
    for place, folders, _ in os.walk(run):
        for each in (Path(place, folder) for folder in folders):
            if each.is_symlink() and not each.resolve().is_relative_to(run.resolve()):
                raise RunError(
                    f"{each} is a link to {each.readlink()}, where files would be written and deleted; put a folder in "
                    "its place"
                )


LOCK = ".lock"
_LEFT = re.compile(r"\.(.+)\.([0-9a-f]{8}|old)")


def is_left_over(path: Path) -> bool:
    """Whether a killed process left this: a file or folder that did not get its name, or a lock."""
    return path.name == LOCK or (_LEFT.fullmatch(path.name) is not None and not (path / "config.yaml").exists())


def clean_up(folder: Path, only: Collection[str] | None = None, but: Collection[str] = ()) -> None:
    """Delete what killed writes have left in a folder; nobody else may be writing there.

    A folder that was moved out of the way, and whose successor did not take its place, is put back.

    Args:
        folder: the folder; it need not exist.
        only: the files and folders whose left-overs are meant; default all.
        but: those whose left-overs are not meant.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        left = _LEFT.fullmatch(path.name)
        if left is None or not is_left_over(path) or left[1] in but or (only is not None and left[1] not in only):
            continue
        with suppress(OSError):
            if left[2] == "old" and not (folder / left[1]).exists():
                path.rename(folder / left[1])
            else:
                remove(path)


def _open_up(path: Path, probe: Path) -> None:
    """Give a file, or the files of a folder, that only their owner may read the mode of any new file there.

    `probe` is a free name, which `clean_up` knows as a left-over where a kill comes before it is free again.
    """
    files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names] or [path]
    closed = [file for file in files if not stat.S_IMODE(file.stat().st_mode) & 0o077]
    if not closed:
        return
    # The system says what the umask and the folder's own rules make of a new file; asking for the umask would set it.
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in closed:
        file.chmod(mode)


def _on_disk(path: Path) -> None:
    """Wait until a file, or all files of a folder, are on the disk."""
    inner = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    for file in inner or [path]:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    for folder, _, _ in os.walk(path):
        _names_on_disk(Path(folder))


def _names_on_disk(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_write(path: Path, error: Exception) -> RunError:
    """The error of a file that the disk does not take."""
    said = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    of_the_system = re.search(r"\(os error (\d+)\)", said)  # as safetensors quotes it
    said = os.strerror(int(of_the_system[1])) if of_the_system else said
    return RunError(f"cannot write {path}: {said}; free space or choose another --out")


def writable(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        RunError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    return folder
