"""A table of image files and their classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toughen.data.collection import Found, Part, Splittable
from toughen.data.encoded import Files
from toughen.data.source import Split
from toughen.data.splits import NAMES, named, numbered
from toughen.errors import DataError
from toughen.reading.files import readable
from toughen.reading.records import read_records
from toughen.reading.schema import shown

IMAGES = ("path", "image", "image_path", "file", "filename", "file_name", "filepath", "file_path")
LABELS = ("label", "labels", "class", "class_name", "category", "target")
SPLITS = ("split", "subset", "partition", "set")
AGAIN = "mend it or write it again"


class _Row(NamedTuple):
    """One image: its file, what the table calls it, its class and its split, empty where there are no splits."""

    file: str
    image: str
    label: str
    split: str


class Manifest(Splittable):
    """Your own images: a table with a row an image: its file, its class and, where there is one, its split.

        path,label,split
        images/1.jpg,cat,train
        images/2.png,dog,test

    The file is .csv, .tsv, .jsonl or .parquet. Paths are relative to its folder, or to `root`; no file may stand in two
    rows. Splits are called train or training, test or testing, val, validation or valid, in any case; where there
    are test rows, those of val are not used. Without a split column, `test_share` of every class is drawn as the
    test set; a run keeps which. Classes are sorted by name, or by size where all are whole numbers.

    Args:
        path: the file.
        test: another such file, to be the test set.
        root: folder that the images' paths begin in; default that of the file.
        image: column of the paths; default path, image, file, file_name or the like.
        label: column of the classes' names or numbers; default label, class, category or the like.
        split: column of the splits; default split, subset, partition or set, where there is one.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the file's name.
        skip_bad: leave out images that cannot be read, and say which.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: `size`, `channels`, `test_share` or `seed` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        test: str | Path | None = None,
        root: str | Path | None = None,
        image: str | None = None,
        label: str | None = None,
        split: str | None = None,
        size: int | None = None,
        channels: int = 3,
        name: str | None = None,
        skip_bad: bool = False,
        test_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(size, channels, name, skip_bad, test_share, seed)
        self.path = path
        self.test = test
        self.root = root
        self.image = image
        self.label = label
        self.split = split

    def find(self, splits: Sequence[Split]) -> Found:
        """The files that the table names.

        Raises:
            DataError: a missing or damaged table, a column that is not there, an empty cell, a file in two rows, an
                unknown split, or a split without a row.
        """
        path = Path(self.path).expanduser()
        rows = self._rows(path)
        if self.test is not None:
            rows = [row._replace(split="train") for row in rows]
            rows += [row._replace(split="test") for row in self._rows(Path(self.test).expanduser())]
        if not rows:
            raise DataError(f"{path} has no rows; expected one an image")
        met: set[str] = set()
        twice = [row.file for row in rows if row.file in met or met.add(row.file)]  # type: ignore[func-returns-value]
        if twice:
            # It would be trained and tested on, or be of two classes.
            raise DataError(f"{path} names {len(twice):,} files twice, such as {twice[0]}; give every image one row")
        classes, numbers = numbered([row.label for row in rows])
        parts = {}
        for split, called in self._names({row.split for row in rows}, splits, path).items():
            chosen = [place for place, row in enumerate(rows) if row.split == called]
            # By name, so that neither the order of the rows nor the form of the table decides anything.
            chosen.sort(key=lambda place: rows[place].image)
            files = Files([rows[place].file for place in chosen], str(self._folder(path)))
            parts[split] = Part(files, [numbers[place] for place in chosen])
        return Found(parts, classes, path.stem)

    def _folder(self, table: Path) -> Path:
        return table.parent if self.root is None else Path(self.root).expanduser()

    def _names(self, there: set[str], splits: Sequence[Split], path: Path) -> dict[Split | None, str]:
        """What the splits are called that have rows; None alone where there are no splits."""
        if there == {""}:
            return {None: ""}
        known = {name for names in NAMES.values() for name in names}
        strange = sorted(name for name in there if name.lower() not in known)
        if strange:
            raise DataError(
                f"{path}: unknown split {strange[0]!r}; expected {', '.join(sorted(known))} in every row, or another "
                "column with --data.split"
            )
        found: dict[Split | None, str] = {}
        for split in NAMES:
            name = named(split, there)
            if name is not None:
                found[split] = name
            elif split in splits:
                raise DataError(
                    f"{path} has no row of {split} images; splits there: {', '.join(sorted(there))}; add some, or give "
                    "another table with --data.test"
                )
        return found

    def _rows(self, path: Path) -> list[_Row]:
        with readable(path, AGAIN, DataError):
            columns = read_records(path)
        images = _column(path, columns, self.image, IMAGES, "image")
        labels = _column(path, columns, self.label, LABELS, "label")
        splits = [""] * len(images)
        if self.split is not None or any(name.lower() in SPLITS for name in columns):
            splits = _column(path, columns, self.split, SPLITS, "split")
        folder = self._folder(path)
        rows = zip(images, labels, splits, strict=True)
        return [_Row(str(folder / image), image, label, split) for image, label, split in rows]


def _column(
    path: Path, columns: dict[str, list[Any]], chosen: str | None, usual: Sequence[str], option: str
) -> list[str]:
    """The texts of a column."""
    by_name = {name.lower(): name for name in columns}
    name = chosen if chosen is not None else next((by_name[each] for each in usual if each in by_name), None)
    if name not in columns:
        what = f"no column {name!r}" if name is not None else f"none of the columns {', '.join(usual)}"
        raise DataError(
            f"{path} has {what}; columns: {', '.join(columns) or 'none'}; name the right one with --data.{option}"
        )
    for row, value in enumerate(columns[name]):
        if not _is_text(value):
            raise DataError(
                f"{path}: row {row + 1} has no text or whole number in column {name}, got {shown(value)}; fill it in "
                "or remove the row"
            )
    return [str(value).strip() for value in columns[name]]


def _is_text(value: Any) -> bool:
    """Whether a cell holds a text that can be written and be the name of a file, or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, str) and value.strip() != "" and "\0" not in value and value.isprintable()
