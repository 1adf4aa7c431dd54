"""Intervals for a share of images, and paired tests between models on the same images."""

from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from toughen.errors import InputError


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a binomial share (Wilson 1927).

    With p = successes / n and z the normal quantile at (1 + confidence) / 2:
    `(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`. Unlike the textbook interval it
    stays in [0, 1] and keeps its coverage near 0 and 1, where robust accuracies often lie.

    Raises:
        InputError: no trial, more successes than trials, or a confidence outside (0, 1).

    >>> low, high = wilson(62, 100)
    >>> round(low, 4), round(high, 4)
    (0.5221, 0.709)
    """
    return _binomial_interval("wilson", successes, n, confidence, "wilson")


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial share (Clopper and Pearson 1934), for decisions.

    Its lower end is the share at which `successes` or more of n have probability (1 - confidence) / 2, its upper end
    the share at which so many or fewer have it. So whatever the true share is, each end lies on the wrong side of it
    in at most (1 - confidence) / 2 of all samples. Wilson's interval keeps that only on average over shares.

    Raises:
        InputError: no trial, more successes than trials, or a confidence outside (0, 1).

    >>> low, high = clopper_pearson(62, 100)
    >>> round(low, 4), round(high, 4)
    (0.5175, 0.7152)
    """
    return _binomial_interval("clopper_pearson", successes, n, confidence, "exact")


def _binomial_interval(name: str, successes: int, n: int, confidence: float, method: str) -> tuple[float, float]:
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{name}: expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a number between 0 and 1 such as 0.95, got {confidence}")
    # Against the share itself the test's p-value, which nobody asks for, costs next to nothing.
    interval = scipy.stats.binomtest(successes, n, successes / n).proportion_ci(confidence, method)
    return float(interval.low), float(interval.high)


def of_a_whole(successes: int, n: int, whole: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a finite set's share, from n of its members drawn without replacement.

    It holds each share K / whole at which neither `successes` or more of n nor so few have a hypergeometric
    probability of at most (1 - confidence) / 2: `clopper_pearson` for a set that the sample is a part of, and the share
    itself where the sample is the set. A sample drawn by class is nearer to its set than this supposes.

    Raises:
        InputError: more successes than drawn, or more drawn than there are.

    >>> of_a_whole(30, 60, 60), of_a_whole(30, 60, 100)
    ((0.5, 0.5), (0.42, 0.58))
    """
    if not 0 <= successes <= n <= whole or n < 1:
        raise InputError(f"of_a_whole: expected successes <= n <= whole, got {successes}, {n} and {whole}")
    counts, tail = np.arange(successes, whole - n + successes + 1), (1 - confidence) / 2
    drawn = scipy.stats.hypergeom(whole, counts, n)
    possible = counts[(drawn.sf(successes - 1) > tail) & (drawn.cdf(successes) > tail)]
    return float(possible[0] / whole), float(possible[-1] / whole)


def mcnemar(first_held: ArrayLike, second_held: ArrayLike) -> float:
    """Exact two-sided McNemar test: do two models differ in accuracy on the same images?

    Only images that one model holds and the other does not say anything; if the models are alike, each of
    them falls on either side with probability 1/2.

    Args:
        first_held: bool (N,), whether the first model held on each image.
        second_held: the same of the second model, in the same order.

    Returns:
        float: the p-value; 1.0 where no image tells the models apart.

    Raises:
        InputError: vectors of different lengths.

    >>> mcnemar([True, True, True, True, True, False], [False, False, False, False, False, False])
    0.0625
    """
    first, second = np.asarray(first_held, dtype=bool), np.asarray(second_held, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"mcnemar: expected one verdict an image from both models, got shapes {first.shape} and {second.shape}"
        )
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for several tests by Holm's step-down method (Holm 1979), in the order given.

    The i-th smallest of m is multiplied by m - i + 1; a larger one is never corrected to less than a smaller
    one, and none exceeds 1. Comparing the result with alpha keeps the chance of any false finding at alpha.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in corrected]


def against_the_best(p_values: Sequence[float], others: int | None = None) -> list[float]:
    """P-values of tests against the best of several figures, corrected for their number: each is multiplied by it.

    The best is picked by the figures that are then tested, so that the tests are not fixed beforehand, as `holm` needs.
    With p below alpha an entry is significantly worse than the one with the best figure. That one and the rest hold the
    truly best entry with probability 1 - alpha at least (multiple comparisons with the best, Hsu 1984): it is left out
    only if one of m others beats it in its test, each of which happens with alpha / m at most.

    Args:
        p_values: of the tests.
        others: how many could have been the best beside it; default as many as there are tests. There are more where
            only some are tested that were picked by a first look at all.

    >>> against_the_best([0.01, 0.04, 0.5])
    [0.03, 0.12, 1.0]
    >>> against_the_best([0.01, 0.04], others=12)
    [0.12, 0.48]
    """
    return [min(1.0, (others or len(p_values)) * float(p)) for p in p_values]
