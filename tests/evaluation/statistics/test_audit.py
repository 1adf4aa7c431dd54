"""The audit's interval holds the truth as often as it says, whenever the drawing stops."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import hypergeom

from toughen.errors import InputError
from toughen.evaluation.statistics.audit import audited_accuracy, bounds_while_drawing, interval_beyond
from toughen.evaluation.statistics.intervals import clopper_pearson, wilson


@pytest.mark.parametrize(("population", "marked"), [(60, 0), (60, 1), (60, 5), (60, 30), (60, 60), (200, 4)])
def test_the_truth_is_held_at_every_draw_at_once(population: int, marked: int) -> None:
    """The hardest stopping rule: to stop as soon as the bounds miss the truth."""
    held_at = [
        [_holds(population, drawn, found, marked) for found in range(drawn + 1)] for drawn in range(population + 1)
    ]
    random, missed, runs = np.random.default_rng(0), 0, 2000
    items = np.arange(population) < marked
    for _ in range(runs):
        found = np.cumsum(random.permutation(items))
        missed += not all(held_at[drawn + 1][count] for drawn, count in enumerate(found))
    assert missed / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def _holds(population: int, drawn: int, found: int, marked: int) -> bool:
    if not 0 <= marked - found <= population - drawn:
        return True  # cannot be
    low, high = bounds_while_drawing(population, drawn, found)
    return low <= marked <= high


@pytest.mark.parametrize(("drawn", "found"), [(10, 0), (50, 3), (150, 20)])
def test_bounds_are_those_of_the_ratio_by_bayes_rule(drawn: int, found: int) -> None:
    """The posterior by Bayes' rule with exact fractions, in place of its closed form."""
    population, a, b = 200, 1, 10

    def rising(x: int, n: int) -> int:
        product = 1
        for each in range(n):
            product *= x + each
        return product

    def choose(n: int, k: int) -> int:
        return rising(n - k + 1, k) // rising(1, k) if 0 <= k <= n else 0

    prior = [
        Fraction(choose(population, k) * rising(a, k) * rising(b, population - k), rising(a + b, population))
        for k in range(population + 1)
    ]
    likelihood = [
        Fraction(choose(k, found) * choose(population - k, drawn - found), choose(population, drawn))
        for k in range(population + 1)
    ]
    evidence = sum(p * each for p, each in zip(prior, likelihood, strict=True))
    held = [k for k in range(population + 1) if likelihood[k] and evidence / likelihood[k] < 20]
    assert bounds_while_drawing(population, drawn, found) == (held[0], held[-1])
    assert float(likelihood[held[0]]) == pytest.approx(hypergeom.pmf(found, population, held[0], drawn))


def test_bounds_close_in_on_the_truth() -> None:
    widths = [np.subtract(*bounds_while_drawing(400, drawn, drawn // 20)[::-1]) for drawn in range(0, 401, 100)]
    assert all(later < earlier for earlier, later in pairwise(widths)) and widths[-1] == 0


def test_the_estimate_is_without_bias_and_all_audited_is_exact() -> None:
    """Over all samples of a size the estimates average to the figure."""
    images, left, marked, drawn = 100, 40, 7, 12
    chances = hypergeom.pmf(np.arange(marked + 1), left, marked, drawn)
    estimates = [audited_accuracy(images, left, drawn, found).estimate for found in range(marked + 1)]
    assert float(chances @ estimates) == pytest.approx((left - marked) / images)
    whole = audited_accuracy(images, left, left, marked)
    assert whole.estimate == whole.upper == whole.interval[0] == whole.interval[1] == 0.33


def test_what_is_known_beside_the_sample_bounds_the_estimate() -> None:
    """In every sample of 8 of 10 images the ends are in order; of all images too, where nothing is cut off."""
    for drawn in range(9):
        for found in range(drawn + 1):
            for beside in range(9 - drawn):
                audit = audited_accuracy(10, 8, drawn, found, beside)
                (low, high), upper = audit.interval, (8 - found - beside) / 10
                assert low - 1e-9 <= audit.estimate <= high + 1e-9 and high <= upper + 1e-9 and audit.upper == upper
                for of_share in (wilson, clopper_pearson):
                    low, high = interval_beyond(10, 8, drawn, found, beside, of_share)
                    assert low <= audit.estimate <= high
    assert audited_accuracy(10, 8, 4, 1, 2).estimate == pytest.approx(0.5), "not 0.6: 3 of the 8 are broken"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="found <= audited"):
        audited_accuracy(100, 40, 50, 3)
    with pytest.raises(InputError, match="from 0 to the 30 images not drawn, got 31"):
        audited_accuracy(100, 40, 10, 3, 31)
