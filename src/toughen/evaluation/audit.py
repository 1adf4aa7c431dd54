"""The audit of a cheap budget: which of the images that its attacks left AutoAttack is shown, and until when.

The images come in one random order, in parts. Which images a part has follows from what the cheap attacks left, so an
audit that goes on, or that another process looks at, has the same parts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from toughen.attacks.base import AUDIT
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.records.spec import EvaluationSpec
from toughen.evaluation.records.verdicts import Verdicts, attack_fields, figure
from toughen.evaluation.statistics.audit import AuditedAccuracy, audited_accuracy, interval_beyond
from toughen.evaluation.statistics.intervals import wilson

SUSPICIOUS = 0.02
"""Share of the images that were left above which the cheap attacks are taken for blind, where AutoAttack certainly
breaks more of them."""


@dataclass(frozen=True)
class Audit:
    """An audit as far as it is.

    Attributes:
        protocol: of the evaluation; what it has under `audit` says how far an audit goes.
        indices: of the evaluated images in their split, (N,).
        left: whether the cheap attacks left each, bool (N,).
        units: the parts that are done, in order.
    """

    protocol: Mapping[str, Any]
    indices: NDArray[np.int64]
    left: NDArray[np.bool_]
    units: Sequence[BatchResult] = ()

    @classmethod
    def of(
        cls,
        protocol: Mapping[str, Any],
        indices: NDArray[np.int64],
        left: NDArray[np.bool_],
        units: Sequence[BatchResult],
    ) -> "Audit":
        """From the units that there are, in any order; those that follow a missing or unfitting one are left out."""
        empty, known = cls(protocol, indices, left), {unit.batch: unit for unit in units if unit.name == AUDIT}
        fitting: list[BatchResult] = []
        for number, rows in enumerate(empty.parts):
            unit = known.get(number)
            if unit is None or not np.array_equal(unit.table["index"].to_numpy(), indices[rows]):
                break
            fitting.append(unit)
        return cls(protocol, indices, left, fitting)

    @cached_property
    def parts(self) -> list[NDArray[np.int64]]:
        """Rows of the verdict table, part by part: those that the sample may grow to, then all others."""
        generator = torch.Generator().manual_seed(int(self.protocol["seed"]))
        order = torch.randperm(len(self.left), generator=generator).numpy()
        order, size = order[self.left[order]], int(self.protocol["batch_size"])
        groups = order[: self._most], order[self._most :]
        return [rows[start : start + size] for rows in groups for start in range(0, len(rows), size)]

    def next(self, doubted: bool) -> int | None:
        """Number of the part that is due; None at the end.

        Args:
            doubted: whether there are other reasons than this audit not to believe the cheap attacks.
        """
        audited, asked = self.accuracy.audited, self.protocol["audit"]
        doubted = doubted or self.suspicious
        if audited == self.population or (doubted and asked["on_doubt"] == "stop"):
            return None
        low, high = self.accuracy.interval
        enough = audited >= self._most or 100 * (high - low) <= asked["width"]
        return None if enough and not doubted else len(self.units)

    @property
    def population(self) -> int:
        """How many images were left."""
        return int(self.left.sum())

    @property
    def _most(self) -> int:
        return math.ceil(self.protocol["audit"]["share"] * self.population)

    @cached_property
    def accuracy(self) -> AuditedAccuracy:
        """What AutoAttack says of these images so far."""
        held = self.left.copy()
        held[self._shown] = np.concatenate([np.zeros(0, dtype=bool), *(unit.held for unit in self.units)])
        return audited_accuracy(*self._counts(held))

    @property
    def _shown(self) -> NDArray[np.int64]:
        """Rows that AutoAttack was shown, in this order."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.parts[: len(self.units)]])

    def _counts(self, held: NDArray[np.bool_]) -> tuple[int, int, int, int, int]:
        """What `audited_accuracy` takes, where these images are those that nothing has broken."""
        shown = self._shown
        found = len(shown) - int(held[shown].sum())
        return len(held), self.population, len(shown), found, self.population - found - int(held.sum())

    @property
    def suspicious(self) -> bool:
        """Whether AutoAttack certainly breaks two images or more, and more than a sound cheap attack would leave it."""
        broken = self.population - round(len(self.left) * self.accuracy.interval[1])
        return broken > max(1, SUSPICIOUS * self.population)

    def headline(self, held: NDArray[np.bool_]) -> dict[str, Any]:
        """A figure of the estimate, with an interval for all images that these are a sample of.

        Args:
            held: the images that nothing has broken, neither AutoAttack nor what followed it. They are the figure's own
                where all that were left were audited.
        """
        known, counts = figure(held), self._counts(held)
        if len(self._shown) == self.population:
            return known
        interval = interval_beyond(*counts, wilson)
        return {**known, "accuracy": audited_accuracy(*counts).estimate, "interval": list(interval)}

    def facts(self, held: NDArray[np.bool_]) -> dict[str, Any]:
        """What `result.json` says of it, beside what was asked for.

        Args:
            held: as in `headline`.
        """
        found = audited_accuracy(*self._counts(held))
        return {
            **self.protocol["audit"],
            "left": self.population,
            "audited": found.audited,
            "broken": self.accuracy.found,
            "broken_later": found.found - self.accuracy.found,
            "estimate": found.estimate,
            "interval": list(found.interval),
            "upper": found.upper,
            "suspicious": self.suspicious,
        }

    def table(self, right: NDArray[np.bool_]) -> pa.Table:
        """Its columns of the verdict table; an image that it did not look at is as the attacks before left it.

        Args:
            right: whether each image is classified correctly without an attack.
        """
        fields = [pa.field("index", pa.int64()), *attack_fields(AUDIT, composite=True)]
        seen = pa.concat_tables([unit.table.select([each.name for each in fields]) for unit in self.units])
        rows = np.concatenate(self.parts[: len(self.units)])
        places = np.full(len(self.left), -1)
        places[rows] = np.arange(len(rows))
        spread = seen.take(pa.array(places, mask=places < 0))
        held = pc.if_else(pa.array(places < 0), pa.array(self.left), pc.fill_null(spread[AUDIT], False))
        columns = {each.name: spread[each.name] for each in fields}
        columns |= {"index": pa.array(self.indices), AUDIT: held}
        norm = f"{AUDIT}_norm"
        columns[norm] = pc.if_else(pa.array(right), spread[norm], pa.scalar(0.0, pa.float32()))
        return pa.table(columns, schema=pa.schema(fields))


def parts_of(verdicts: Verdicts, spec: EvaluationSpec, versions: Mapping[str, str]) -> list[BatchResult]:
    """The parts of the audit that a table came of; none where it had none."""
    if AUDIT not in verdicts.attacks:
        return []
    table = verdicts.table
    left = np.logical_and.reduce([verdicts.held(name) for name in ("clean", *spec.attacks)])
    audit = Audit(spec.protocol, table["index"].to_numpy(), left)
    columns = ["index", *(field.name for field in attack_fields(AUDIT, composite=True))]
    # One that is judged wrong in its part, before the attack, has no prediction after it.
    seen = table[f"{AUDIT}_prediction"].is_valid().to_numpy() | (left & ~verdicts.held(AUDIT))
    own = table.select(columns).replace_schema_metadata(None)
    parts = takewhile(lambda rows: seen[rows].all(), audit.parts)
    return [BatchResult(number, AUDIT, own.take(rows), versions=versions) for number, rows in enumerate(parts)]


def said_of(facts: Mapping[str, Any]) -> str:
    """What an audit's `facts` say, in a sentence.

    >>> facts = {"left": 500, "audited": 500, "broken": 10, "estimate": 0.49, "interval": [0.49, 0.49], "upper": 0.49}
    >>> said_of({**facts, "suspicious": False})
    'audit: AutoAttack was shown all of the 500 images that the fast attacks left, and broke 10'
    """
    broke, left = f"{facts['broken']:,}", f"the {facts['left']:,} images that the fast attacks left"
    if facts["audited"] == facts["left"]:
        blind = ", more than a sound network gives away so late" if facts["suspicious"] else ""
        return f"audit: AutoAttack was shown all of {left}, and broke {broke}{blind}"
    if not facts["audited"]:
        return (
            f"audit: AutoAttack was shown none of {left}: the robust accuracy is an upper bound of what it would leave"
        )
    low, high = (100 * end for end in facts["interval"])
    later = f", attacks that followed {facts['broken_later']:,} more of these" if facts["broken_later"] else ""
    return (
        f"audit: the robust accuracy is an estimate. AutoAttack was shown {facts['audited']:,} of {left}, and broke "
        f"{broke}{later}: of the images evaluated here all attacks together would leave "
        f"{100 * facts['estimate']:.2f} % (95 % interval {low:.2f} to {high:.2f}), and certainly no more than "
        f"{100 * facts['upper']:.2f} %; counts of images, and what is said of classes, are those upper bounds"
    )


def is_estimate(result: Mapping[str, Any]) -> bool:
    """Whether the robust accuracy of a result is estimated: its verdicts then tell an upper bound of it."""
    audit = result.get("audit")
    return audit is not None and bool(audit["audited"] < audit["left"])


def asked_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit of a result was asked for, its attack included, whatever came of it; empty where it has none."""
    audit = result.get("audit") or {}
    return {name: audit[name] for name in ("width", "share", "on_doubt", "attack") if name in audit}


def is_of_audit(warning: str) -> bool:
    """Whether a warning is what `said_of` says, which the audit's next step makes another."""
    return warning.startswith("audit: ")
