"""The files of what a training recorded: trace.csv, an epoch a row, and image_weights.parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from toughen.reading.files import readable
from toughen.reading.schema import UnfitError
from toughen.reading.tables import read_columns
from toughen.run import RunFolder
from toughen.run.manifest import check, recorded
from toughen.training.log import Row, read_rows
from toughen.training.trace.weights import WEIGHTS

SCHEMA = pa.schema(
    [
        pa.field("epoch", pa.int64()),
        pa.field("image", pa.int64()),
        pa.field("label", pa.int64()),
        *(pa.field(name, pa.float32()) for name in (*WEIGHTS, "broken")),
    ]
)
"""A row an epoch and image: its place in the training set; its weights, of mean 1 over the epoch; 1 where its
adversarial image was misclassified in the step, else 0. Not a number where that was not seen."""


@dataclass(frozen=True)
class Followed:
    """A fixed sample of n training images over E epochs.

    Attributes:
        epochs: int64, (E,), from 1.
        images: their places in the training set, int64, (n,).
        labels: int64, (n,).
        weights: by name, E x n each, in units of the epoch's mean; not a number where unknown.
        broken: whether the training's own adversarial image was misclassified, E x n.
    """

    epochs: Tensor
    images: Tensor
    labels: Tensor
    weights: dict[str, Tensor]
    broken: Tensor


@dataclass(frozen=True)
class Record:
    """What a run recorded of its training.

    Attributes:
        rows: an epoch each, of those in which there was something to record.
        followed: images that were followed one by one; None where weights were not recorded.
    """

    rows: Sequence[Row] = ()
    followed: Followed | None = None

    def course(self, prefix: str) -> dict[str, tuple[list[float], list[float]]]:
        """Epochs and figures of all whose name begins so, by the rest of the name; epochs without one are left out.

        >>> Record([{"epoch": 1.0, "cosine/a, b": 0.5}, {"epoch": 2.0}]).course("cosine/")
        {'a, b': ([1.0], [0.5])}
        """
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith(prefix))
        return {
            name.removeprefix(prefix): (
                [row["epoch"] for row in self.rows if name in row],
                [row[name] for row in self.rows if name in row],
            )
            for name in names
        }


def write_followed(path: Path, images: Tensor, labels: Tensor, epochs: Sequence[Tensor]) -> None:
    """Write image_weights.parquet.

    Args:
        path: the file.
        images: places in the training set, (n,).
        labels: theirs, (n,).
        epochs: what `WeightTrace.end_epoch` gave, n x (W + 1) each, of epochs 1, 2, ...

    Raises:
        RunError: the disk cannot be written.
    """
    count, values = len(epochs), torch.cat(list(epochs)).T.numpy()
    numbers = torch.arange(1, count + 1).repeat_interleave(len(images))
    columns = [numbers.numpy(), images.repeat(count).numpy(), labels.repeat(count).numpy(), *values]
    table = pa.table([pa.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    with recorded(path) as temporary:
        pq.write_table(table, temporary)


def read_record(folder: RunFolder) -> Record:
    """What a run recorded; empty where it recorded nothing.

    Raises:
        RunError: a file is damaged.
    """
    return Record(read_rows(folder.trace), _read_followed(folder.image_weights))


def _read_followed(path: Path) -> Followed | None:
    if not path.exists():
        return None
    advice = f"make it again with `toughen train --resume {path.parent}`"
    check(path, advice)
    with readable(path, advice):
        table = read_columns(path)
        if table.schema.names != SCHEMA.names or table.schema.types != SCHEMA.types:
            raise UnfitError(f"expected the columns {', '.join(SCHEMA.names)}")
        columns = {name: torch.tensor(table[name].to_numpy()) for name in SCHEMA.names}
        epochs = columns["epoch"].unique()
        count = table.num_rows // max(1, len(epochs))
        if not count or len(epochs) * count != table.num_rows or table["epoch"].null_count:
            raise UnfitError("expected the same images in every epoch")
        shaped = {name: columns[name].reshape(len(epochs), count) for name in SCHEMA.names}
    weights = {name: shaped[name] for name in WEIGHTS}
    return Followed(epochs, shaped["image"][0], shaped["label"][0], weights, shaped["broken"])
