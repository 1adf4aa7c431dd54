"""Mean, standard deviation and interval over seeds, against scipy and a simulation."""

import statistics

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from toughen.errors import InputError
from toughen.evaluation.statistics.seeds import over_seeds, welch


@pytest.mark.parametrize("shares", [[0.4, 0.5], [0.51, 0.49, 0.55], [0.2, 0.25, 0.21, 0.3, 0.22]])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_agrees_with_the_standard_library_and_scipy(shares: list[float], confidence: float):
    spread = over_seeds(shares, confidence)
    low, high = ttest_1samp(shares, 0).confidence_interval(confidence)
    assert spread.mean == pytest.approx(statistics.mean(shares))
    assert spread.std == pytest.approx(statistics.stdev(shares))
    assert spread.interval == pytest.approx((max(0, low), min(1, high)))
    assert spread.n == len(shares)


def test_the_interval_covers():
    """Of 4,000 experiments of three seeds each, 95 % of the intervals hold the true mean."""
    draws = np.random.default_rng(0).normal(0.5, 0.02, (4000, 3))
    covered = np.mean([low <= 0.5 <= high for low, high in (over_seeds(row).interval for row in draws.tolist())])
    assert 0.94 < covered < 0.96


def test_seeds_that_agree_have_no_spread():
    spread = over_seeds([0.5, 0.5, 0.5])
    assert (spread.mean, spread.std, spread.interval) == (0.5, 0.0, (0.5, 0.5))


def test_the_interval_stays_a_share():
    assert over_seeds([0.98, 0.9]).interval[1] == 1.0
    assert over_seeds([0.02, 0.1]).interval[0] == 0.0


@pytest.mark.parametrize(("shares", "confidence"), [([], 0.95), ([0.5], 0.95), ([0.5, 0.6], 95)])
def test_refuses(shares: list[float], confidence: float):
    with pytest.raises(InputError, match=r"at least two seeds|0\.95"):
        over_seeds(shares, confidence)


def test_welchs_test_against_a_published_example() -> None:
    """t = -2.46 with 25.0 degrees of freedom, p = 0.021."""
    first = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    second = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
    assert welch(first, second) == pytest.approx(0.021, abs=5e-4)
    assert welch(first, second) == welch(second, first)


def test_welchs_test_is_scipys() -> None:
    first, second = [0.5, 0.54], [0.41, 0.44, 0.4]
    assert welch(first, second) == pytest.approx(ttest_ind(first, second, equal_var=False).pvalue)


def test_what_does_not_spread_is_not_told_apart() -> None:
    assert welch([0.5, 0.5], [0.4, 0.4]) == 1.0
    with pytest.raises(InputError, match="at least two seeds each, got 1 and 2"):
        welch([0.5], [0.4, 0.3])
