"""Images in Parquet shards, as on the Hugging Face hub."""

from bisect import bisect_right
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from toughen.data.collection import Collection
from toughen.data.decode import check_format
from toughen.data.encoded import Encoded
from toughen.data.shards import class_names, find_shards, image_column, label_column, read_column, shard_schema
from toughen.data.source import MOST_CLASSES, ImageSet, Split
from toughen.errors import DataError
from toughen.hardware.memory import available_memory


class Parquet(Collection):
    """Your own images, or a Hugging Face data set's: a folder with `train-*.parquet` and `test-*.parquet`.

    The shards may lie in PATH or in PATH/data, as `train-*.parquet`, `train.parquet` or `train/*.parquet`;
    `validation`, `valid` or `val` is the test set where there is no `test`. Images are a struct column with the
    encoded `bytes`, labels an integer column. Class names come from the Hugging Face schema metadata, else they
    are the numbers.

    Args:
        path: the folder.
        image: the image column; default the first struct column with bytes.
        label: the label column; default label, labels, fine_label or the only integer column.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the folder's name.
        skip_bad: leave out images that cannot be read, and say which.

    Raises:
        InputError: `size` or `channels` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        image: str | None = None,
        label: str | None = None,
        size: int | None = None,
        channels: int = 3,
        name: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        check_format(size, channels)
        self.path = path
        self.image = image
        self.label = label
        self.size = size
        self.channels = channels
        self.name = name
        self.skip_bad = skip_bad

    def listed(self, splits: Sequence[Split]) -> dict[Split, ImageSet]:
        """The images of these splits as they are found.

        Raises:
            DataError: missing, incomplete or damaged shards; no fitting column; rows without a label; labels
                outside the classes, or one class only; shards larger than the machine's memory.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder at {root}; expected one with train-*.parquet, given by --data.path")
        shards: dict[Split, list[Path]] = {
            "train": find_shards(root, "train"),
            "test": find_shards(root, "test"),
        }
        for split in splits:
            if not shards[split]:
                found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
                raise DataError(f"{root} has no {split}-*.parquet, neither there nor in data/; found: {found}")
        _check_memory([shard for split in splits for shard in shards[split]])
        labels, classes = self._labels(shards)
        name = self.name or root.resolve().name
        sets = {}
        for split in splits:
            images = Encoded(self._rows(shards[split]), self.channels, self.size, self._like(shards, split))
            sets[split] = ImageSet(images, labels[split], classes, name)
        return sets

    def _labels(self, shards: dict[Split, list[Path]]) -> tuple[dict[Split, torch.Tensor], tuple[str, ...]]:
        # Both splits are read, so that they agree on the number of classes.
        labels = {part: self._read_labels(paths) for part, paths in shards.items() if paths}
        first = (shards["train"] or shards["test"])[0]
        schema = shard_schema(first)
        names = class_names(schema, label_column(schema, self.label, first), first)
        largest = max(int(part.max(initial=-1)) for part in labels.values())
        if not names and largest >= MOST_CLASSES:
            raise DataError(
                f"{first} and the other shards have a label of {largest}; expected at most {MOST_CLASSES:,} classes "
                "where they have no names; choose another column with --data.label"
            )
        classes = names or tuple(str(number) for number in range(largest + 1))
        for part, values in labels.items():
            if not len(values):
                raise DataError(f"{shards[part][0]} and the other {part} shards have no rows")
            if values.min() < 0 or values.max() >= len(classes):
                raise DataError(
                    f"{part} labels of {shards[part][0].parent} lie in {values.min()} .. {values.max()}, "
                    f"expected 0 .. {len(classes) - 1}; choose another column with --data.label"
                )
        if len(classes) < 2:
            raise DataError(f"{first} has images of one class; expected at least two classes to tell apart")
        return {part: torch.from_numpy(values) for part, values in labels.items()}, classes

    def _read_labels(self, shards: list[Path]) -> np.ndarray:
        parts = []
        for shard in shards:
            column = read_column(shard, label_column(shard_schema(shard), self.label, shard))
            if column.null_count:
                raise DataError(f"{shard} has {column.null_count} rows without a label; remove them")
            numbers = column.to_numpy()
            if len(numbers) and not -(2**63) <= int(numbers.min()) <= int(numbers.max()) < 2**63:
                raise DataError(f"{shard} has a label of {numbers.max()}; choose another column with --data.label")
            parts.append(numbers.astype(np.int64))
        return np.concatenate(parts)

    def _rows(self, shards: list[Path]) -> "Rows":
        columns = [read_column(shard, image_column(shard_schema(shard), self.image, shard)) for shard in shards]
        return Rows(shards, columns)

    def _like(self, shards: dict[Split, list[Path]], split: Split) -> Encoded | None:
        if split == "train" or not shards["train"] or self.size is not None:
            return None
        first = shards["train"][0]
        if self.skip_bad:
            return Encoded(self._rows([first]), self.channels)
        column = read_column(first, image_column(shard_schema(first), self.image, first), rows=1)
        return Encoded(Rows([first], [column]), self.channels)


class Rows:
    """One encoded image a row of a shard; the encoded bytes are held in memory."""

    def __init__(self, shards: Sequence[Path], columns: Sequence[Any]) -> None:
        self.shards = [str(shard) for shard in shards]
        self.columns = [_encoded_bytes(column) for column in columns]
        self.ends = list(accumulate(len(column) for column in columns))

    def __len__(self) -> int:
        return self.ends[-1]

    def open(self, index: int) -> BinaryIO:
        """The encoded image.

        Raises:
            DataError: the row has none.
        """
        shard, row = self._place(index)
        data = self.columns[shard][row].as_py()
        if data is None:
            raise DataError(f"{self.where(index)} has no image bytes; write the data set with embedded images")
        return BytesIO(data)

    def where(self, index: int) -> str:
        """Shard and row, counted from 0."""
        shard, row = self._place(index)
        return f"{self.shards[shard]} row {row}"

    def name(self, index: int) -> str:
        """Name of the shard, and row."""
        shard, row = self._place(index)
        return f"{Path(self.shards[shard]).name} row {row}"

    def _place(self, index: int) -> tuple[int, int]:
        shard = bisect_right(self.ends, index)
        return shard, index - self.ends[shard] + len(self.columns[shard])


def _encoded_bytes(column: Any) -> Any:
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _check_memory(shards: list[Path]) -> None:
    needed, available = sum(shard.stat().st_size for shard in shards), available_memory()
    if needed > available:
        raise DataError(
            f"{shards[0].parent}: its shards ({needed / 1e9:.1f} GB) do not fit into memory "
            f"({available / 1e9:.1f} GB free); save the images as files for --data image_folder, which reads "
            "them when needed"
        )
