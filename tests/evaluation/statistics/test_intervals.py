"""Intervals and tests against scipy and against plain loops over their definitions."""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import norm, ttest_ind

from toughen.errors import InputError
from toughen.evaluation import against_the_best, holm, mcnemar, wilson
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.statistics.intervals import clopper_pearson, of_a_whole


@pytest.mark.parametrize("n", [1, 7, 100, 10_000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_is_the_formula(n: int, confidence: float):
    z = norm.ppf((1 + confidence) / 2)
    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        share = successes / n
        center, half = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        bounds = ((center - half) / (1 + z**2 / n), (center + half) / (1 + z**2 / n))
        assert wilson(successes, n, confidence) == pytest.approx(bounds, abs=1e-12)


def test_wilson_is_exact_at_the_ends():
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


@pytest.mark.parametrize("share", [0.05, 0.45, 0.9])
def test_wilson_covers(share: float):
    """The chance that the interval holds the true share, summed exactly over all outcomes, is near 95 %."""
    n = 1000
    covered = sum(
        comb(n, k) * share**k * (1 - share) ** (n - k)
        for k in range(n + 1)
        if wilson(k, n)[0] <= share <= wilson(k, n)[1]
    )
    assert 0.94 < covered < 0.96


@pytest.mark.parametrize(("share", "n"), [(0.45, 1000), (0.45, 100), (0.03, 200), (0.97, 1000)])
def test_the_interval_of_an_evaluation_covers_in_a_simulation(share: float, n: int):
    """Evaluations on images drawn from a hundred thousand, of which a known share holds: 95 % of intervals have it."""
    generator = np.random.default_rng(0)
    everything = generator.permutation(100_000) < share * 100_000
    repetitions = 2000
    covered = 0
    for _ in range(repetitions):
        low, high = figure(everything[generator.integers(0, len(everything), n)])["interval"]
        covered += low <= share <= high
    # Three standard errors of the simulation, and what a count of n cannot resolve.
    assert covered / repetitions == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("given", [(1, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_impossible_counts(given: tuple[int, int]):
    with pytest.raises(InputError, match="successes"):
        wilson(*given)


def test_wilson_refuses_a_confidence_in_per_cent():
    with pytest.raises(InputError, match=r"0\.95"):
        wilson(1, 2, confidence=95)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 5), (3, 3), (10, 2), (1, 30)])
def test_mcnemar_is_the_binomial_tail(only_first: int, only_second: int):
    first = np.array([True] * only_first + [False] * only_second + [True, False] * 4)
    second = np.array([False] * only_first + [True] * only_second + [True, False] * 4)
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(n, k) for k in range(fewer + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_says_nothing_without_disagreement():
    assert mcnemar([True, False], [True, False]) == 1.0


def test_mcnemar_needs_the_same_images():
    with pytest.raises(InputError, match="shapes"):
        mcnemar([True, False], [True])


def rejected_step_by_step(p_values: list[float], alpha: float) -> set[int]:
    """As Holm states it: test the smallest at alpha / m, the next at alpha / (m - 1), stop at a failure."""
    left, rejected = list(range(len(p_values))), set()
    while left:
        smallest = min(left, key=lambda i: p_values[i])
        if p_values[smallest] > alpha / len(left):
            break
        rejected.add(smallest)
        left.remove(smallest)
    return rejected


def test_holm_rejects_what_the_procedure_rejects():
    generator = np.random.default_rng(0)
    families = [list(generator.random(size) ** 3) for size in (1, 2, 5, 9) for _ in range(20)]
    for p_values, alpha in product(families, (0.01, 0.05, 0.2)):
        corrected = holm(p_values)
        assert {i for i, p in enumerate(corrected) if p <= alpha} == rejected_step_by_step(p_values, alpha)
        assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))


def test_holm_of_nothing():
    assert holm([]) == against_the_best([]) == []


def test_the_truly_best_is_left_out_seldom_and_what_is_worse_mostly():
    """Twelve methods with five seeds each, of which eleven are equally good: every one of those is a truly best one."""
    generator = np.random.default_rng(0)
    lost = np.zeros(12)
    for _ in range(1000):
        shares = generator.normal(0, 1, (12, 5))
        shares[11] -= 8
        best = shares[shares.mean(1).argmax()]
        others = [place for place in range(12) if not (shares[place] == best).all()]
        p_values = ttest_ind(shares[others], best[None], axis=1).pvalue
        lost[[place for place, p in zip(others, against_the_best(p_values), strict=True) if p < 0.05]] += 1
    assert lost[:11].max() <= 50 and lost[11] > 950


@pytest.mark.parametrize(("drawn", "whole"), [(1, 7), (12, 40), (39, 40)])
def test_a_wholes_share_is_in_the_interval_as_often_as_it_says(drawn: int, whole: int):
    """Counted over all samples of every set: C(K, k) C(N - K, n - k) of C(N, n) hold k of K."""
    intervals = [of_a_whole(held, drawn, whole) for held in range(drawn + 1)]
    for members in range(whole + 1):
        samples = [comb(members, k) * comb(whole - members, drawn - k) for k in range(drawn + 1)]
        inside = [low <= members / whole <= high for low, high in intervals]
        assert sum(count for count, holds in zip(samples, inside, strict=True) if holds) >= 0.95 * sum(samples)
    assert of_a_whole(whole // 3, whole, whole) == (whole // 3 / whole, whole // 3 / whole)


def test_a_sample_says_more_of_its_set_than_of_all_images():
    for held in (0, 30, 100):
        (low, high), (lower, higher) = of_a_whole(held, 100, 400), clopper_pearson(held, 100)
        assert lower <= low < high <= higher
        assert high - low < higher - lower
