"""Files that lie among images: which are images, which are certainly none, and which may be."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from toughen.errors import DataError

IMAGES = (
    *(".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Endings of the files that are read as images."""
NO_IMAGES = frozenset((".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".tsv", ".txt", ".xml", ".yaml", ".yml"))
"""Kinds of files that are certainly no images: notes, annotations, and what file managers leave."""
NAMED = 20
"""Files or images that a message names; it counts the others."""


def is_image(path: str) -> bool:
    """Whether a file is called as an image."""
    return path.lower().endswith(IMAGES)


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


def parted(others: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files that are certainly no images, and those that may be, such as a .psd."""
    notes = [path for path in others if Path(path).suffix.lower() in NO_IMAGES]
    return notes, sorted(set(others) - set(notes))


def not_read(files: Sequence[str]) -> str:
    """Files of kinds that are not read, counted and named."""
    kinds = Counter(Path(path).suffix.lower() or "without an ending" for path in files)
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
