"""Checksums of a run's files, in the manifest.json beside them, so that one that is damaged or was changed is named."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from toughen.errors import RunError, ToughenWarning
from toughen.reading.files import check_file, read_json
from toughen.reading.schema import UnfitError
from toughen.run.files import atomic
from toughen.settings.own_files import CODE

NAME = "manifest.json"
EVALUATIONS = "evaluations"
"""The folder in a run's that holds its evaluations."""
Sums = dict[str, list[str]]
"""The SHA-256 of each file by its name; two while the file is being replaced."""


class _Document(TypedDict):
    """What manifest.json holds."""

    own: str
    sha256: Sums


@contextmanager
def recorded(path: Path) -> Iterator[Path]:
    """As `atomic`, with the file's checksum in the manifest beside it.

    Raises:
        RunError: the disk cannot be written.
    """
    with atomic(path) as temporary:
        yield temporary
        new, before = checksum(temporary), read(path.parent).get(path.name, [])
        if new not in before:
            # Whenever a kill comes, the file that is there is one of those that the manifest knows.
            _note(path.parent, path.name, [new, *before])
    if [new] != before:
        _note(path.parent, path.name, [new])


def note(folder: Path, name: str) -> None:
    """Take in the checksum of a file of a folder that is whole already.

    Raises:
        RunError: the disk cannot be written.
    """
    _note(folder, name, [checksum(folder / name)])


def write(folder: Path) -> None:
    """Write the manifest of all files of a folder that is not in use yet."""
    sums = {file.name: [checksum(file)] for file in sorted(folder.iterdir()) if file.is_file()}
    (folder / NAME).write_text(_as_text(sums))


def check(path: Path, advice: str) -> None:
    """Raise where a file is not as it was written; one that no manifest knows, as in older runs, is not looked at.

    Args:
        path: the file.
        advice: what is to be done, for the message.

    Raises:
        RunError: the file is missing or damaged.
    """
    # Copies of an evaluation lie in the run's folder; their checksums stay among the evaluations.
    known = read(path.parent).get(path.name) or read(path.parent / EVALUATIONS).get(path.name)
    if known is None:
        return
    try:
        found = checksum(path)
    except (OSError, UnfitError) as error:
        raise RunError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; {advice}") from error
    if found not in known:
        raise RunError(
            f"cannot read {path}: it is damaged (SHA-256 {found[:12]}, expected {known[0][:12]}); {advice}; if you "
            f"changed it yourself, delete {path.with_name(NAME)}"
        )


def damaged(run: Path, checkpoints: bool = False) -> list[Path]:
    """The files in a run's folder that are not as a manifest beside them says.

    Weights, and the checkpoint that a run goes on from, are checked where they are read.

    Args:
        run: the folder.
        checkpoints: look at the checkpoint before the last one too, which is large.
    """
    places = [run, run / CODE, *sorted((run / EVALUATIONS).glob("[!.]*/"))]
    files = [file for place in places for file in _known(place)]
    files = [file for file in files if not (file.parent == run and file.suffix == ".safetensors")]
    if checkpoints:
        files += _known(run / "checkpoints" / "previous")
    return [file for file in files if file.exists() and is_damaged(file)]


def _known(folder: Path) -> list[Path]:
    """The files in a folder that its manifest knows: what else is named there, as by a stranger, is not looked for."""
    sums = read(folder)
    return [file for file in sorted(folder.iterdir()) if file.name in sums] if sums else []


def is_damaged(path: Path) -> bool:
    """Whether a file is missing, or not as it was written."""
    try:
        check(path, "")
    except RunError:
        return True
    return not path.exists()


def read(folder: Path) -> Sums:
    """What the manifest in a folder says; nothing where there is none, or where it is damaged, which a warning says."""
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        document = read_json(path, _Document)
        sums: Sums = document["sha256"]
        if document["own"] != seal(sums):
            raise UnfitError(UNSEALED)
    except (OSError, UnfitError) as error:
        warnings.warn(
            f"{path} is damaged ({error}): the files beside it are not checked; delete it", ToughenWarning, stacklevel=2
        )
        return {}
    return sums


def checksum(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
        UnfitError: it is a pipe or a device, which may never end.
    """
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(folder: Path, name: str, sums: list[str]) -> None:
    with atomic(folder / NAME) as temporary:
        temporary.write_text(_as_text({**read(folder), name: sums}))


def _as_text(sums: Mapping[str, list[str]]) -> str:
    return json.dumps({"schema": 1, "own": seal(sums), "sha256": sums}, indent=2)


UNSEALED = "its own checksum is another"


def seal(facts: Any) -> str:
    """The checksum of plain data, for a file that holds it beside them."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
