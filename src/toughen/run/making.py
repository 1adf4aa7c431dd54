"""How a new run comes into its folder, and what becomes of an earlier one."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from toughen.errors import RunError, ToughenWarning
from toughen.reading.schema import UnfitError
from toughen.reading.yaml_text import read_yaml
from toughen.run.files import is_left_over, temporary_beside, writable


def check_free(path: Path, overwrite: bool) -> bool:
    """Raise unless a run may be made here; whether it replaces an earlier one.

    What an `--overwrite` that was killed has left beside the folder is named.

    Raises:
        RunError: it holds something already and `overwrite` is not set, or something that is not a run.
    """
    left = [str(folder) for folder in _set_aside(path)]
    note = f"an --overwrite that was stopped left an earlier run in {', '.join(left)}; move it back or delete it"
    free = not path.exists() or (path.is_dir() and all(map(is_left_over, path.iterdir())))
    if not free and not overwrite:
        raise RunError(
            f"{path} exists and is not empty; give another --out, go on with it (--resume {path}) "
            "or replace it (--overwrite)" + (f"; {note}" if left else "")
        )
    if left:
        warnings.warn(note, ToughenWarning, stacklevel=3)
    if free:
        return False
    if not _is_a_run(path):
        raise RunError(f"{path} is not a run folder (no config.yaml of a run), so --overwrite does not delete it")
    return True


@contextmanager
def making_run(path: Path, overwrite: bool = False) -> Iterator[None]:
    """Make the folder for a run that is prepared inside the block; an earlier run is lost only when that went well.

    While the block runs, an earlier run that `overwrite` replaces lies beside it. If the block fails, the new
    folder is taken away, so that the next try finds the name free, and the earlier run is put back. A link to the
    folder stays, and what it leads to is replaced.

    Raises:
        RunError: it holds something already and `overwrite` is not set, or something that is not a run; the disk
            cannot be written; the folder cannot be moved, as where a disk is mounted on it.
    """
    place, earlier = path.resolve(), None
    if check_free(path, overwrite):
        earlier = temporary_beside(place)
        _move(place, earlier)
    try:
        writable(place)
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        if earlier is not None:
            _move(earlier, place)
        raise
    if earlier is not None:
        shutil.rmtree(earlier, ignore_errors=True)
        if earlier.exists():
            warnings.warn(f"the earlier run could not be deleted whole; delete {earlier}", ToughenWarning, 3)


def _set_aside(path: Path) -> list[Path]:
    """Runs that `making_run` moved out of the way and, as its process was killed, neither put back nor deleted."""
    place = path.resolve()
    return sorted(filter(_is_a_run, place.parent.glob(f".{escape(place.name)}.????????")))


def _move(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        raise RunError(
            f"cannot move {folder} to {to}: {error.strerror or error}; move it yourself, or choose another --out"
        ) from error


def _is_a_run(folder: Path) -> bool:
    """Whether its config.yaml tells of data and a model, as every run's does, and not of somebody's own project."""
    try:
        config = read_yaml(folder / "config.yaml")
    except (OSError, UnfitError):
        return False
    return isinstance(config, dict) and {"data", "model"} <= set(config)
