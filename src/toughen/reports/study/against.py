"""The rows of a study against each other: over their seeds, and over the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from toughen.attacks.base import AUDIT, FURTHER
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.statistics.intervals import against_the_best, holm
from toughen.evaluation.statistics.paired import PairedDifference, paired_over_images
from toughen.evaluation.statistics.seeds import detectable, welch, welch_interval
from toughen.reports.pairing import robust_by_image
from toughen.reports.study.figures import Measured
from toughen.reports.study.record import Measure

LEVEL = 0.05
"""The chance of any false finding among the tests of one kind that is accepted."""


@dataclass(frozen=True)
class Against:
    """A row against another one.

    Attributes:
        first: name of the row.
        second: name of the other.
        difference: accuracy of the first minus that of the second, in the mean of the seeds.
        seeds: 95 % interval of it for other seeds; None with one seed, or where nothing spreads over the seeds.
        p_seeds: Welch's t-test over the seeds, corrected for the tests beside it; None with one seed.
        images: the paired difference over the images of what all rows were attacked by; None where they were
            evaluated on different images.
        p_images: its test, corrected likewise.
    """

    first: str
    second: str
    difference: float
    seeds: tuple[float, float] | None = None
    p_seeds: float | None = None
    images: PairedDifference | None = None
    p_images: float | None = None

    @property
    def worse_over_seeds(self) -> bool | None:
        """Whether the first is significantly worse, for other seeds; None where that is not tested."""
        return None if self.p_seeds is None else self.p_seeds < LEVEL and self.difference < 0

    @property
    def worse_over_images(self) -> bool | None:
        """Whether these networks of the first are significantly worse; None where that is not tested."""
        if self.images is None or self.p_images is None:
            return None
        return self.p_images < LEVEL and self.images.difference < 0


@dataclass(frozen=True)
class Tested:
    """The tests of the rows under one budget.

    Attributes:
        to_best: each other row against the one with the best figure, by its name, corrected by `against_the_best`: the
            rows that are not significantly worse, and the best one, hold the truly best row with 95 % confidence. They
            do not say that two rows differ: pairs do.
        pairs: all pairs, corrected by Holm's method for all of them.
        under: names of the attacks of the verdicts that are paired.
        detectable: the difference to the best that the test over the seeds finds with 80 % power; None with one seed.
    """

    to_best: dict[str, Against]
    pairs: tuple[Against, ...]
    under: tuple[str, ...]
    detectable: float | None


def tests_of(rows: Sequence[Measured], best: Measured, others: int) -> Tested:
    """Test rows that were evaluated under one protocol.

    Args:
        rows: all of them.
        best: the one among them that each other one is tested against.
        others: how many rows there are beside the best one, those too that were not picked to be among these.

    Raises:
        RunError: verdicts that cannot be read, or contradict the recorded figures.
    """
    held, under = verdicts_of(rows)
    tests = [against(row, best, held) for row in rows if row.name != best.name]
    to_best = _corrected(tests, partial(against_the_best, others=others))
    pairs = _corrected([against(a, b, held) for a, b in combinations(rows, 2)], holm)
    return Tested({each.first: each for each in to_best}, tuple(pairs), under, _detectable(rows, others))


Held = dict[str, NDArray[np.bool_]]
"""By row whether each of its networks held on each image, (S, N)."""


def verdicts_of(rows: Sequence[Measured], measure: Measure = "robust") -> tuple[Held, tuple[str, ...]]:
    """Of each row whether each network held on each image, and under which attacks: none where the measure is clean.

    Nothing where the rows were evaluated on different images. An audit looks at some of the images, other ones in each
    run, so where a figure is its estimate it is left out of all: the verdicts of the attacks before it compare.
    """
    attacks = Verdicts.read(rows[0].runs[0][1].folder.verdicts).attacks
    leaving: tuple[str, ...] = (AUDIT, *FURTHER) if any(row.estimated for row in rows) else ()
    if measure == "clean":
        leaving = (*attacks, AUDIT, *FURTHER)
    tables = {row.name: [robust_by_image(run.folder, run.robust, leaving) for _, run in row.runs] for row in rows}
    indices = sorted(tables[rows[0].name][0])
    if any(sorted(table) != indices for each in tables.values() for table in each):
        return {}, ()
    held = {name: np.array([[table[index] for index in indices] for table in each]) for name, each in tables.items()}
    return held, tuple(name for name in attacks if name not in leaving)


def against(first: Measured, second: Measured, held: Held, measure: Measure = "robust") -> Against:
    """Test one row against another one; the p-values are not corrected."""
    one, other = getattr(first, measure), getattr(second, measure)
    several = min(len(first.runs), len(second.runs)) > 1
    images = paired_over_images(held[first.name], held[second.name]) if held else None
    return Against(
        first.name,
        second.name,
        one.accuracy - other.accuracy,
        welch_interval(one.values, other.values) if several else None,
        welch(one.values, other.values) if several else None,
        images,
        None if images is None else images.p,
    )


def _corrected(tests: Sequence[Against], method: Callable[[Sequence[float]], Sequence[float]]) -> list[Against]:
    """The tests with p-values that are corrected for so many; one that is not known counts as if it found nothing."""
    seeds, images = ([getattr(each, name) for each in tests] for name in ("p_seeds", "p_images"))
    found = [corrected(of, method) for of in (seeds, images)]
    return [replace(each, p_seeds=p, p_images=q) for each, p, q in zip(tests, *found, strict=True)]


def corrected(
    p_values: Sequence[float | None], method: Callable[[Sequence[float]], Sequence[float]] = holm
) -> list[float | None]:
    """P-values corrected for all of them; those that are not known stay so, and count as if they were 1."""
    found = method([1.0 if p is None else p for p in p_values]) if p_values else []
    return [None if p is None else each for p, each in zip(p_values, found, strict=True)]


def _detectable(rows: Sequence[Measured], tests: int) -> float | None:
    """By the spread that the rows have in common, and the fewest seeds of one."""
    spreads = [row.robust.seeds for row in rows if row.robust.seeds is not None]
    if not spreads or len(spreads) < len(rows) or not tests:
        return None
    weights = [each.n - 1 for each in spreads]
    pooled = sum(w * each.std**2 for w, each in zip(weights, spreads, strict=True)) / sum(weights)
    return detectable(pooled**0.5, min(each.n for each in spreads), tests, LEVEL)
