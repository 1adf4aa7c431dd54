"""The table that every figure is derived from: one row a test image, what each attack achieved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from toughen.errors import InputError, RunError, did_you_mean
from toughen.evaluation.statistics.intervals import wilson
from toughen.reading.files import readable
from toughen.reading.schema import UnfitError, check_kind, shown
from toughen.reading.tables import check_columns, read_table
from toughen.run import atomic
from toughen.run.manifest import check

SCHEMA = 1


def figure(held: NDArray[np.bool_]) -> dict[str, Any]:
    """Share of held images with its 95 % Wilson interval: accuracy, interval [low, high], held, n."""
    count, n = int(held.sum()), len(held)
    return {"accuracy": count / n, "interval": list(wilson(count, n)), "held": count, "n": n}


CLEAN_FIELDS = [
    pa.field("index", pa.int64()),
    pa.field("label", pa.int64()),
    pa.field("clean_prediction", pa.int64()),
    pa.field("clean_confidence", pa.float32()),
    pa.field("clean", pa.bool_()),
]
"""The columns that need no attack."""


def attack_fields(name: str, composite: bool = False) -> list[pa.Field]:
    """The columns of one attack; a composite one also names the component that broke an image."""
    fields = [
        pa.field(name, pa.bool_()),
        pa.field(f"{name}_norm", pa.float32()),
        pa.field(f"{name}_prediction", pa.int64()),
        pa.field(f"{name}_confidence", pa.float32()),
    ]
    return [*fields, pa.field(f"{name}_broken_by", pa.string())] if composite else fields


def check_verdicts(table: pa.Table, attacks: Sequence[str], clean: bool = True) -> None:
    """Raise unless a table has the columns of verdicts, in any order.

    Args:
        table: what was read.
        attacks: names of the attacks.
        clean: whether it has the columns that need no attack; else only `index` of them.

    Raises:
        UnfitError: naming the column.
    """
    columns = set(table.column_names)
    of_attacks = [field for name in attacks for field in attack_fields(name, f"{name}_broken_by" in columns)]
    check_columns(table, [*CLEAN_FIELDS[: None if clean else 1], *of_attacks])
    if table["index"].null_count or (clean and table["label"].null_count + table["clean_prediction"].null_count):
        raise UnfitError("rows without an index, a label or a prediction")


def verdict_schema(
    attacks: Sequence[str], composite: Sequence[str] = (), protocol: Mapping[str, Any] | None = None
) -> pa.Schema:
    """Columns of a verdict table, with what is known of the evaluation as its metadata.

    Args:
        attacks: names of the attacks, in order.
        composite: those of them that name the component which broke an image.
        protocol: how the verdicts came about, as plain data: threat model, settings, hashes.
    """
    fields = [field for name in attacks for field in attack_fields(name, name in composite)]
    about = {"schema": SCHEMA, "attacks": list(attacks), "protocol": dict(protocol or {})}
    return pa.schema([*CLEAN_FIELDS, *fields], metadata={"toughen": json.dumps(about)})


class _About(TypedDict):
    """What is stored with a verdict table."""

    schema: int
    attacks: list[str]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Verdicts:
    """One row an image, in the order in which they were evaluated.

    Columns: `index` (place in the data's split), `label`, `clean_prediction` (-1 where a logit is NaN),
    `clean_confidence` (softmax probability of the prediction), `clean` (the prediction is the label) and for every
    attack:

    - `<attack>`: the image held, which means that it is also right when clean. An attack whose settings say
      `"attacked": "what the attacks before it left"` saw only those images: for it, held means under it and all
      attacks before it;
    - `<attack>_norm`: size of the perturbation that broke it, in the threat model's norm; 0.0 where the clean
      image was already misclassified, null where the image held or an earlier attack had broken it;
    - `<attack>_prediction`, `<attack>_confidence`: class of the image that the attack ended with, and the softmax
      probability of it; null where the image was not attacked;
    - `<attack>_broken_by` (AutoAttack): the component that broke it; `clean` where nothing was needed,
      `recheck` where only the last look at the result misclassified it (a random model, or a search in bf16), null
      where the image held.
    """

    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def about(self) -> dict[str, Any]:
        """What is stored with the table: schema, names of the attacks, protocol."""
        return json.loads(self.table.schema.metadata[b"toughen"])

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, in order."""
        return tuple(self.about["attacks"])

    def without(self, names: Sequence[str]) -> "Verdicts":
        """The table without some attacks; those that it has not are passed over."""
        left = [name for name in self.attacks if name not in names]
        dropped = [field.name for name in self.attacks if name in names for field in attack_fields(name, True)]
        table = self.table.drop_columns([column for column in dropped if column in self.table.column_names])
        return Verdicts(table.replace_schema_metadata({"toughen": json.dumps({**self.about, "attacks": left})}))

    def held(self, attack: str) -> NDArray[np.bool_]:
        """Whether each image held against an attack, or `clean`; bool (N,).

        Raises:
            InputError: the table has no such attack.
        """
        if attack not in ("clean", *self.attacks):
            raise InputError(f"attack: unknown {attack!r}; {did_you_mean(attack, ('clean', *self.attacks))}")
        return np.asarray(self.table[attack].to_numpy(), dtype=bool)

    def robust(self) -> NDArray[np.bool_]:
        """Whether each image held against every attack: the worst case; bool (N,)."""
        return np.logical_and.reduce([self.held(name) for name in ("clean", *self.attacks)])

    def accuracy(self, attack: str) -> dict[str, Any]:
        """Figure of one attack, or of `clean`; see `figure`."""
        return figure(self.held(attack))

    def robust_accuracy(self) -> dict[str, Any]:
        """Figure of the worst case over all attacks; see `figure`."""
        return figure(self.robust())

    def write(self, path: Path) -> None:
        """Write as Parquet, at once or not at all.

        Raises:
            RunError: the disk cannot be written.
        """
        with atomic(path) as temporary:
            pq.write_table(self.table, temporary, write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> "Verdicts":
        """Read what `write` wrote.

        Raises:
            RunError: no such file, a damaged one, or a table that is no verdict table of this version.
        """
        check(path, "make it again with `toughen evaluate RUN --overwrite`")
        with readable(path, "make the verdicts again with `toughen evaluate`"):
            table, about = read_table(path, dict[str, Any])
            if about.get("schema") != SCHEMA:
                came = shown(about.get("schema"))
                raise RunError(f"{path} has verdicts of schema {came}, expected {SCHEMA}; evaluate again")
            check_kind(about, _About)
            check_verdicts(table, about["attacks"])
            if not table.num_rows:
                raise UnfitError("it has no rows")
            return cls(table)

    @classmethod
    def join(cls, parts: Sequence["Verdicts"]) -> "Verdicts":
        """One table from the parts of one evaluation, in their order.

        Raises:
            InputError: no part, or parts of different evaluations.
        """
        if not parts:
            raise InputError("verdicts: expected at least one part to join")
        first = parts[0].table.schema
        if not all(part.table.schema.equals(first, check_metadata=True) for part in parts):
            raise InputError("verdicts: the parts come from different evaluations; join those of one")
        return cls(pa.concat_tables([part.table for part in parts]))
