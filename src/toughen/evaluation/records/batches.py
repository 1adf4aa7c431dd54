"""The grain of an evaluation: what one attack made of one batch, as it is kept on disk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from toughen.errors import RunError
from toughen.evaluation.records.verdicts import CLEAN_FIELDS, Verdicts, attack_fields, check_verdicts, verdict_schema
from toughen.evaluation.verify import Clean, Outcome
from toughen.reading.schema import Amount, Count, UnfitError
from toughen.reading.tables import read_table
from toughen.run import atomic

CLEAN = "clean"
"""The unit of a batch that needs no attack: labels and clean predictions."""


class DamagedError(RunError):
    """A file that was cut short or changed."""


class _About(TypedDict):
    """What is stored with the table of a unit."""

    key: str
    batch: Count
    name: str
    seconds: Amount
    warnings: list[str]
    versions: dict[str, str]
    repeated: NotRequired[Count]
    shard: NotRequired[str | None]
    again: NotRequired[dict[str, Count | bool]]


@dataclass(frozen=True)
class BatchResult:
    """One batch under one attack, or without one.

    Attributes:
        batch: number of the batch, from 0.
        name: of the attack, or `CLEAN`.
        table: `index` and the attack's columns of the verdict table, one row an image.
        seconds: time it took.
        warnings: doubts that arose.
        versions: what computed it.
        repeated: images that were attacked again in fp32.
        shard: which shard of how many computed it, such as 2/3; None where there was no division.
        again: how a fresh copy judged its images; see `judge_again`.
        pictures: a few of its images for the gallery; see `Gallery`. Not among the Parquet file's contents.
    """

    batch: int
    name: str
    table: pa.Table
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    repeated: int = 0
    shard: str | None = None
    again: Mapping[str, int] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)

    def write(self, path: Path, key: str) -> None:
        """Write the table as Parquet with everything else but the pictures as its metadata, at once or not at all."""
        about = {
            "key": key,
            "batch": self.batch,
            "name": self.name,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
            "repeated": self.repeated,
            "shard": self.shard,
            "again": dict(self.again),
        }
        with atomic(path) as temporary:
            table = self.table.replace_schema_metadata({"toughen": json.dumps(about)})
            pq.write_table(table, temporary, write_page_checksum=True)

    @classmethod
    def read(cls, path: Path, key: str) -> "BatchResult":
        """Read what `write` wrote.

        Raises:
            DamagedError: a damaged file.
            RunError: one of another evaluation.
        """
        try:
            table, about = read_table(path, _About)
            known = {name: about[name] for name in _About.__annotations__ if name != "key" and name in about}
            clean = about["name"] == CLEAN
            check_verdicts(table, [] if clean else [about["name"]], clean)
        except (OSError, UnfitError) as error:
            raise DamagedError(str(error)) from error
        if about["key"] != key:
            raise RunError(
                f"{path} belongs to another evaluation ({about['key'][:12]}, expected {key[:12]}); delete it"
            )
        return cls(table=table.replace_schema_metadata(None), **{**known, "warnings": tuple(about["warnings"])})

    @property
    def held(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each image held, bool (N,)."""
        return np.asarray(self.table[self.name].to_numpy(), dtype=bool)


def clean_table(clean: Clean, indices: Tensor) -> pa.Table:
    """The columns of a batch that need no attack."""
    columns = {
        "index": pa.array(indices.numpy()),
        "label": pa.array(clean.batch.labels.cpu().numpy()),
        "clean_prediction": pa.array(clean.predictions.cpu().numpy()),
        "clean_confidence": _known(clean.confidences.cpu()),
        "clean": pa.array(clean.right.cpu().numpy()),
    }
    return pa.table(columns, schema=pa.schema(CLEAN_FIELDS))


def attack_table(name: str, outcome: Outcome, clean: Clean, indices: Tensor) -> pa.Table:
    """`index` and the columns of one attack."""
    # Nothing to say of the size where an image held, or where an attack before this one had broken it.
    size_unknown = outcome.held | (clean.right.cpu() & ~outcome.attacked)
    columns = {
        "index": pa.array(indices.numpy()),
        name: pa.array(outcome.held.numpy()),
        f"{name}_norm": pa.array(outcome.norm.numpy(), mask=size_unknown.numpy()),
        f"{name}_prediction": pa.array(outcome.predictions.numpy(), mask=(~outcome.attacked).numpy()),
        f"{name}_confidence": _known(outcome.confidences, outcome.attacked),
    }
    if outcome.broken_by is not None:
        columns[f"{name}_broken_by"] = pa.array(outcome.broken_by, type=pa.string())
    fields = attack_fields(name, outcome.broken_by is not None)
    return pa.table(columns, schema=pa.schema([pa.field("index", pa.int64()), *fields]))


def join_batches(batches: Sequence[Sequence[BatchResult]], protocol: Mapping[str, Any]) -> Verdicts:
    """The verdict table of some batches, each with the unit `CLEAN` and the same attacks in the same order."""
    names = [unit.name for unit in batches[0][1:]]
    tables = []
    for units in batches:
        table = units[0].table
        for unit in units[1:]:
            if not unit.table["index"].equals(table["index"]):
                raise RunError(f"batch {unit.batch}: {unit.name} has other images than {units[0].name}; evaluate again")
            for column in unit.table.column_names[1:]:
                table = table.append_column(unit.table.schema.field(column), unit.table[column])
        tables.append(table)
    different = next((place for place, table in enumerate(tables) if table.schema != tables[0].schema), None)
    if different is not None:
        number = batches[different][0].batch
        raise RunError(f"batch {number} has other columns than batch {batches[0][0].batch}; evaluate again")
    joined = pa.concat_tables(tables).combine_chunks()
    about = verdict_schema(names, protocol=protocol).metadata
    return Verdicts(joined.replace_schema_metadata(about))


def _known(values: Tensor, mask: Tensor | None = None) -> pa.Array:
    """Null where a value is NaN, or where the mask is off."""
    unknown = values.isnan() if mask is None else values.isnan() | ~mask
    return pa.array(values.float().numpy(), mask=unknown.numpy())
