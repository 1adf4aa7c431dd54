"""Files that lie among images and are none that can be read."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from toughen.errors import DataError, ToughenWarning

NO_IMAGES = frozenset((".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".tsv", ".txt", ".xml", ".yaml", ".yml"))
"""Kinds of files that are certainly no images: notes, annotations, and what file managers leave."""
NAMED = 20
"""Files or images that a message names; it counts the others."""


def visible_files(folder: Path) -> list[str]:
    """Paths of the files in a folder and its subfolders, in torchvision's order; what is hidden is left out.

    Raises:
        DataError: a folder is met twice, by links: they may lead around in a circle.
    """
    paths: list[tuple[str, str]] = []
    met: dict[tuple[int, int], str] = {}
    for root, folders, names in os.walk(folder, followlinks=True):
        found = Path(root).stat()
        if (before := met.setdefault((found.st_dev, found.st_ino), root)) != root:
            raise DataError(f"{root} and {before} are one folder, by a link; remove it")
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [(root, str(Path(root, name))) for name in names if not name.startswith(".")]
    return [path for _, path in sorted(paths)]


def check_kinds(others: Iterable[str], skip: bool) -> None:
    """Warn of the files that are left out of a data set because they are of kinds that cannot be read.

    A file that cannot be an image gives a warning, one that may be, such as a .gif, an error.

    Args:
        others: the files.
        skip: a warning instead of an error: they are left out by decision.

    Raises:
        DataError: naming and counting the files, unless `skip`.
    """
    files = [Path(path) for path in others]
    notes = [file for file in files if file.suffix.lower() in NO_IMAGES]
    if len(notes) < len(files) and not skip:
        strange = [file for file in files if file not in set(notes)]
        raise DataError(
            f"{_named(strange)}\nSave them as .png or .jpg, move them elsewhere, or leave them out with "
            "--data.skip_bad true"
        )
    if files:
        warnings.warn(f"left out: {_named(files)}", ToughenWarning, stacklevel=4)


def _named(files: list[Path]) -> str:
    kinds = Counter(file.suffix.lower() or "without an ending" for file in files)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    are = "1 file is" if len(files) == 1 else f"{len(files):,} files are"
    return listed(f"{are} not read ({counts})", files)


def listed(heading: str, each: Sequence[object]) -> str:
    """A heading and below it these, a line each; of more than 20 the first ones, and how many more there are.

    >>> listed("2 files", ["a.gif", "b.gif"])
    '2 files\\n  a.gif\\n  b.gif'
    """
    lines = [f"  {one}" for one in each[:NAMED]]
    if len(each) > NAMED:
        lines.append(f"  ... and {len(each) - NAMED:,} more")
    return "\n".join([heading, *lines])
