"""How far a figure spreads over training runs that differ in their seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, variance

import numpy as np
import scipy

from toughen.errors import InputError


@dataclass(frozen=True)
class Spread:
    """A share over several seeds.

    Attributes:
        mean: over the seeds.
        std: sample standard deviation (divisor n - 1).
        interval: of the mean, for new seeds on the same images.
        n: number of seeds.
    """

    mean: float
    std: float
    interval: tuple[float, float]
    n: int


def over_seeds(shares: Sequence[float], confidence: float = 0.95) -> Spread:
    """Mean, standard deviation s and Student's interval `mean -+ t s / sqrt(n)` of a share over n seeds.

    t is the quantile at (1 + confidence) / 2 with n - 1 degrees of freedom: 12.7 for two seeds, 4.3 for three. The
    interval is cut to [0, 1]. It takes the seeds as a sample and the test images as given.

    Raises:
        InputError: fewer than two seeds, or a confidence outside (0, 1).

    >>> spread = over_seeds([0.50, 0.52, 0.54])
    >>> round(spread.mean, 4), round(spread.std, 4), [round(bound, 4) for bound in spread.interval]
    (0.52, 0.02, [0.4703, 0.5697])
    """
    if len(shares) < 2:
        raise InputError(f"over_seeds: expected figures of at least two seeds, got {len(shares)}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a number between 0 and 1 such as 0.95, got {confidence}")
    values = np.asarray(shares, dtype=np.float64)
    n, middle, std = len(values), float(values.mean()), float(values.std(ddof=1))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1)) * std / n**0.5
    return Spread(middle, std, (max(0.0, middle - half), min(1.0, middle + half)), n)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Welch's two-sided t-test (Welch 1947): do two methods differ in the mean of a share over training seeds?

    With a and b the variances of the two means, their difference over `sqrt(a + b)` has Student's distribution, with
    `(a + b)^2 / (a^2 / (n - 1) + b^2 / (m - 1))` degrees of freedom for n and m seeds. The two may have other seeds and
    other spreads. It takes the test images as given.

    Returns:
        float: the p-value; 1.0 where neither spreads over its seeds, which leaves nothing to test by.

    Raises:
        InputError: fewer than two seeds of one of them.

    >>> round(welch([0.50, 0.52, 0.54], [0.46, 0.47, 0.48]), 4)
    0.0316
    """
    error, freedom = _of_the_difference(first, second)
    if error == 0:
        return 1.0
    return float(2 * scipy.stats.t.sf(abs(mean(first) - mean(second)) / error, freedom))


def welch_interval(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """The interval that belongs to `welch`: of the first's mean minus the second's, for new seeds on the same images.

    Returns:
        tuple: its bounds; None where neither spreads over its seeds.

    Raises:
        InputError: fewer than two seeds of one of them.

    >>> [round(bound, 4) for bound in welch_interval([0.50, 0.52, 0.54], [0.46, 0.47, 0.48])]
    [0.0084, 0.0916]
    """
    error, freedom = _of_the_difference(first, second)
    if error == 0:
        return None
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * error
    middle = mean(first) - mean(second)
    return max(-1.0, middle - half), min(1.0, middle + half)


def _of_the_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Standard error of the difference of two means, and its degrees of freedom."""
    if min(len(first), len(second)) < 2:
        raise InputError(f"welch: expected figures of at least two seeds each, got {len(first)} and {len(second)}")
    a, b = variance(first) / len(first), variance(second) / len(second)
    if a + b == 0:
        return 0.0, 1.0
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return (a + b) ** 0.5, freedom


def detectable(std: float, n: int, tests: int = 1, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The difference that `welch` finds with this power, of two methods with n seeds each and one spread.

    It is the difference for which Welch's test rejects with probability `power`, at the level alpha / tests, which is
    what Holm's method asks of the first of several tests. With few seeds that is far more than the same difference of
    the t-test for equal variances, as Welch's degrees of freedom fall from 2 (n - 1) to n - 1 where by chance the seeds
    of one method spread more.

    Args:
        std: standard deviation of the share over the seeds of a method.
        n: seeds of each method, at least 2.
        tests: how many are corrected for.
        alpha: the chance of any false finding that is accepted.
        power: the chance to find a difference that is there.

    Returns:
        float: the difference, at most 1; None where nothing spreads over the seeds, as `welch` finds nothing there.

    >>> round(detectable(0.01, 5), 3), round(detectable(0.01, 3, tests=10), 3)
    (0.021, 0.081)
    """
    if std <= 0:
        return None
    # The variances of both samples in units of the true one: each place of the table is as likely as any other.
    first = scipy.stats.chi2.ppf((np.arange(200) + 0.5) / 200, n - 1) / (n - 1)
    a, b = first[:, None], first[None, :]
    bounds = scipy.stats.t.isf(alpha / tests / 2, (n - 1) * (a + b) ** 2 / (a**2 + b**2))
    limits = bounds * np.sqrt((a + b) / 2)  # of a normal value with the shift, in standard errors of the difference
    found = scipy.optimize.brentq(
        lambda shift: (scipy.stats.norm.sf(limits - shift) + scipy.stats.norm.cdf(-limits - shift)).mean() - power,
        0,
        float(limits.max()) + 10,
    )
    return min(1.0, float(found) * std * (2 / n) ** 0.5)
