"""What the checks of a finished evaluation judge by, and how they tell a difference from chance."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.statistics.intervals import mcnemar

Held = NDArray[np.bool_]
"""Whether each image held, bool (N,)."""

LEVEL = 0.01
"""A check fails where its finding would be less probable than this in a sound evaluation."""

CHANCE = 0.002
"""Share of images that a weaker attack may break by luck after a stronger one: AutoAttack's own limit for Square."""


@dataclass(frozen=True)
class CheckResult:
    """What a check says.

    Attributes:
        passed: None where it cannot be judged.
        message: one line, with figures.
        figures: plain data that it follows from.
    """

    passed: bool | None
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that a check may look at.

    Attributes:
        verdicts: the table.
        again: what the analysis `SelfChecks` found; None where it did not run.
        fresh: how a fresh copy of the model judged the attacked images; None where it was not asked.
    """

    verdicts: Verdicts
    again: Mapping[str, Any] | None = None
    fresh: Mapping[str, Any] | None = None

    @cached_property
    def single_step(self) -> list[str]:
        """Attacks of one gradient step."""
        return [name for name in self._gradient if self._attacks[name]["steps"] == 1]

    @cached_property
    def iterative(self) -> list[str]:
        """Gradient attacks of several steps that saw every image; AutoAttack is one, by its gradient components."""
        several = [name for name in self._gradient if name not in self.single_step]
        return [n for n in (*several, *self._of("AutoAttack")) if "attacked" not in self._attacks[n]]

    @cached_property
    def white_box(self) -> list[str]:
        """Attacks that use the model's gradient, AutoAttack by its gradient components."""
        return [*self._gradient, *self._of("AutoAttack")]

    @cached_property
    def black_box(self) -> list[str]:
        """Attacks that never see the model's gradient, AutoAttack by its Square."""
        return [name for name in self.verdicts.attacks if name not in self._gradient]

    def broken_by_gradient(self, name: str) -> Held:
        """Images, right when clean, that an attack broke by the model's gradient."""
        broken = self._broken_by(name)
        return broken & ~self._square(name) if name in self.white_box else np.zeros_like(broken)

    def broken_without_gradient(self, name: str) -> Held:
        """Images, right when clean, that an attack broke without it."""
        broken = self._broken_by(name)
        return broken & self._square(name) if name in self.white_box else broken

    def held_again(self, name: str) -> Held:
        """Verdicts of `SelfChecks` under one of its names."""
        assert self.again is not None
        return np.array([digit == "1" for digit in self.again["held"][name]])

    def both(self, name: str) -> tuple[Held, Held]:
        """For the images that are in the table too: whether each held in the evaluation, and under `held_again`."""
        assert self.again is not None
        places = {index: place for place, index in enumerate(self.verdicts.table["index"].to_pylist())}
        common = [(row, places[index]) for row, index in enumerate(self.again["indices"]) if index in places]
        rows, table = np.array(common, dtype=int).reshape(-1, 2).T
        return self.verdicts.robust()[table], self.held_again(name)[rows]

    @cached_property
    def _attacks(self) -> dict[str, Any]:
        return self.verdicts.about["protocol"]["attacks"]

    def _of(self, kind: str) -> list[str]:
        return [name for name in self.verdicts.attacks if self._attacks[name]["attack"] == kind]

    @cached_property
    def _gradient(self) -> list[str]:
        """Attacks of gradient steps on the judged model itself."""
        names = self.verdicts.attacks
        return [n for n in names if "steps" in self._attacks[n] and self._attacks[n]["attack"] != "transfer"]

    def _broken_by(self, name: str) -> Held:
        """By this attack, not by an earlier one: only then the table has the size of the perturbation."""
        size = self.verdicts.table[f"{name}_norm"].is_valid().to_numpy()
        return np.asarray(self.verdicts.held("clean") & size, dtype=bool)

    def _square(self, name: str) -> Held:
        column = f"{name}_broken_by"
        if column not in self.verdicts.table.column_names:
            return np.zeros(len(self.verdicts), dtype=bool)
        return np.array([component == "square" for component in self.verdicts.table[column].to_pylist()])


def holds_more(first: Held, second: Held) -> bool:
    """Whether `second` says of significantly more images that they held: exact McNemar test, p < `LEVEL`.

    >>> holds_more(np.zeros(8, dtype=bool), np.ones(8, dtype=bool))
    True
    >>> holds_more(np.zeros(7, dtype=bool), np.ones(7, dtype=bool))
    False
    """
    return bool(second.sum() > first.sum() and mcnemar(first, second) < LEVEL)


def more_than_chance(count: int, n: int) -> bool:
    """Whether so many of n images are improbable (p < `LEVEL`) at a true share of `CHANCE`.

    >>> [next(count for count in range(n) if more_than_chance(count, n)) for n in (10, 100, 1_000, 10_000)]
    [2, 3, 7, 32]
    """
    return bool(count > 0 and scipy.stats.binomtest(count, n, CHANCE, alternative="greater").pvalue < LEVEL)


def of(count: int, n: int) -> str:
    """A count with its share, for messages.

    >>> of(7, 20)
    '7 of 20 images (35.0 %)'
    """
    return f"{count:,} of {n:,} images ({100 * count / n:.1f} %)"
