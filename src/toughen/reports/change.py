"""What training changed: the network that a run started from beside the one that it ended with, image by image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from toughen.evaluation.audit import is_estimate
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.reports.run_data import RunData


@dataclass(frozen=True)
class Change:
    """One accuracy before and after training, on the same images.

    Attributes:
        before: accuracy, interval, held and n of the network that the run started from.
        after: the same of the trained one.
        lost: images that only the first one has right.
        won: images that only the trained one has right.
        p: exact McNemar test of whether the two differ.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    lost: int
    won: int
    p: float

    @property
    def difference(self) -> float:
        """Accuracy after minus before."""
        return float(self.after["accuracy"] - self.before["accuracy"])

    @property
    def shown(self) -> bool:
        """Whether these images show a difference, at 5 %."""
        return self.p < 0.05


def changes_of(run: RunData) -> dict[str, Change]:
    """Clean and robust accuracy before and after; empty where the start is not known under this threat and images.

    An audit's estimate has no change either: what it leaves open would count as gained.

    Robust before is under fewer attacks, which flatters only the network before.
    """
    start, end = run.before, run.verdicts
    if (
        start is None
        or end is None
        or is_estimate(run.result)
        or start.result.get("threat") != run.result.get("threat")
    ):
        return {}
    if start.result["data"].get("sha256") != run.result["data"].get("sha256"):
        return {}
    places = dict(zip(start.verdicts.table["index"].to_pylist(), range(len(start.verdicts.table)), strict=True))
    pairs = [(places[index], row) for row, index in enumerate(end.table["index"].to_pylist()) if index in places]
    if not pairs:
        return {}
    first, second = np.array(pairs).T
    return {
        "clean": _change(start.verdicts.held("clean")[first], end.held("clean")[second]),
        "robust": _change(start.verdicts.robust()[first], end.robust()[second]),
    }


def _change(before: Any, after: Any) -> Change:
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return Change(figure(before), figure(after), lost, won, mcnemar(before, after))
