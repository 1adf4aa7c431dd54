"""Files from anywhere, read within limits: whatever is in one, it takes a moment, a few bytes and one sentence.

A reader names the file and says what to do: `with readable(path, "restore it"): facts = read_json(path, Facts)`.
"""

import csv
import io
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toughen.errors import RunError, ToughenError
from toughen.reading.schema import DEPTH, UnfitError, check_kind, check_plain

LARGEST_TEXT = 16 * 2**20
"""Bytes of JSON or CSV: 50 MB of brackets take ten seconds to read."""
FREE, RATIO = 64 * 2**20, 100
"""Bytes that any file may unpack to, and how many times its own size."""


@contextmanager
def readable(path: Path | str, advice: str, kind: type[ToughenError] = RunError) -> Iterator[None]:
    """Name the file in what goes wrong inside, in one sentence.

    Args:
        path: the file, or what of it is read, such as "weights from a.safetensors".
        advice: what to do.
        kind: the error.

    Raises:
        ToughenError: of that kind, for an `OSError` or an `UnfitError`.
    """
    try:
        yield
    except (OSError, UnfitError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise kind(f"cannot read {path}: {why}; {advice}") from error


def check_file(path: Path, largest: float | None = None) -> int:
    """The size of an ordinary file.

    Raises:
        OSError: there is none.
        UnfitError: it is a folder, a pipe or a device, which may never end; or larger.
    """
    try:
        found = path.stat()
    except ValueError as error:  # a null in the name
        raise UnfitError(str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise UnfitError(f"it is {kinds.get(stat.S_IFMT(found.st_mode), 'a device')}; expected a file")
    if largest is not None and found.st_size > largest:
        raise UnfitError(f"it has {found.st_size:,} bytes, expected at most {largest:,.0f}")
    return found.st_size


def check_unpacked(size: int, unpacked: float) -> None:
    """Raise where a file says that it unpacks to far more than it can hold.

    Raises:
        UnfitError: more than 64 MB and 100 times its size.
    """
    if unpacked > FREE and unpacked > RATIO * size:
        raise UnfitError(f"its {size:,} bytes say that they unpack to {unpacked:,.0f}")


def read_text(path: Path, largest: float = LARGEST_TEXT) -> str:
    """A file of UTF-8.

    Raises:
        OSError: it is not there.
        UnfitError: too large, or something else.
    """
    check_file(path, largest)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnfitError(f"it is not UTF-8 text from byte {error.start} on") from error


def read_json(path: Path, kind: Any) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        kind: the type that it must have; see `schema.check_kind`.

    Raises:
        OSError: it is not there.
        UnfitError: damaged, or of another type.
    """
    return from_json(read_text(path), kind)


def from_json(text: str | bytes, kind: Any) -> Any:
    """What a piece of JSON says, such as a Parquet file's metadata; as `read_json`.

    >>> from_json('{"epochs": [1, 2]}', dict[str, list[int]])
    {'epochs': [1, 2]}
    """
    if len(text) > LARGEST_TEXT:
        raise UnfitError(f"it has {len(text):,} bytes of JSON, expected at most {LARGEST_TEXT:,}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise UnfitError(f"values lie deeper than {DEPTH} in each other") from None
    except ValueError as error:  # also whole numbers of thousands of digits, and bytes that are no text
        raise UnfitError(f"it is not JSON: {error}") from error
    check_plain(value)
    check_kind(value, kind)
    return value


def read_csv(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of numbers by the names in its first line, without empty cells.

    Raises:
        OSError: it is not there.
        UnfitError: damaged.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        return [{name: float(value) for name, value in row.items() if value} for row in rows]
    except (csv.Error, TypeError, ValueError) as error:  # TypeError: more cells than names
        raise UnfitError(f"line {rows.line_num}: {error}") from error
