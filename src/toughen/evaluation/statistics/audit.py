"""How many of the images that a cheap attack left an expensive one would break, from a sample of them that grows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from toughen.errors import InputError

# Any prior gives valid bounds. This one makes them narrow where few of the images that are left are breakable.
_PRIOR = (1.0, 10.0)


@dataclass(frozen=True)
class AuditedAccuracy:
    """An estimate of the robust accuracy under the expensive attack, of the very images that were evaluated.

    Attributes:
        estimate: unbiased, if the sample's size was fixed beforehand and `upper` is not below it.
        interval: at least 95 % of all audits hold the figure in it, also where the sample grew until it was narrow.
        upper: the share of images that nothing has broken: no attack can show more than this.
        audited: images that the expensive attack was shown.
        found: those of them that are broken.
    """

    estimate: float
    interval: tuple[float, float]
    upper: float
    audited: int
    found: int


def audited_accuracy(
    images: int, left: int, audited: int, found: int, beside: int = 0, confidence: float = 0.95
) -> AuditedAccuracy:
    """Two-phase estimate (Neyman 1938): all images under a cheap attack, a sample of those left under an expensive one.

    With R of N images left, n of them drawn without replacement and k of these broken, the estimate of the share that
    the expensive attack leaves is `(R / N) (1 - k / n)`. Its interval is that of `bounds_while_drawing`. Where other
    attacks, shown all that is left then, broke m of the images that were not drawn, k counts what they broke of the
    drawn ones too; the estimate is of what all of them leave, and no higher than what is certain, `(R - k - m) / N`.

    Args:
        images: N.
        left: R, images that the cheap attack leaves right.
        audited: n, drawn at random from the R.
        found: k, those of the n that are broken.
        beside: m, those of the others that are known to be.
        confidence: of the interval.

    Raises:
        InputError: more were drawn or found than there were.

    >>> audited_accuracy(1000, 500, 500, 10)
    AuditedAccuracy(estimate=0.49, interval=(0.49, 0.49), upper=0.49, audited=500, found=10)
    """
    if not 0 <= found <= audited <= left <= images or images < 1:
        raise InputError(
            f"audit: expected found <= audited <= left <= images, got {found}, {audited}, {left} and {images}"
        )
    if not 0 <= beside <= left - audited:
        raise InputError(f"audit: expected beside from 0 to the {left - audited} images not drawn, got {beside}")
    low, high = bounds_while_drawing(left, audited, found, beside, confidence)
    upper = (left - found - beside) / images
    estimate = min(left / images * (1 - found / audited), upper) if audited else upper
    return AuditedAccuracy(estimate, ((left - high) / images, (left - low) / images), upper, audited, found)


def interval_beyond(
    images: int,
    left: int,
    audited: int,
    found: int,
    beside: int,
    of_share: Callable[[int, int, float], tuple[float, float]],
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of the accuracy among all images, of which the evaluated ones are a sample; first five as above.

    Two things may be missed: how many of these images the expensive attack would leave, and what that says of others.
    Each gets half of what the confidence allows; the first gets nothing where all that were left are audited.

    Args:
        images: N.
        left: R.
        audited: n.
        found: k.
        beside: m.
        of_share: from successes, trials and confidence to an interval, such as `wilson`.
        confidence: of both together.

    >>> from toughen.evaluation.statistics.intervals import wilson
    >>> interval_beyond(1000, 500, 500, 10, 0, wilson) == wilson(490, 1000)
    True
    """
    if audited == left:
        return of_share(left - found, images, confidence)
    half = (1 + confidence) / 2
    low, high = bounds_while_drawing(left, audited, found, beside, half)
    return of_share(left - high, images, half)[0], of_share(left - low, images, half)[1]


def bounds_while_drawing(
    population: int, drawn: int, found: int, beside: int = 0, confidence: float = 0.95
) -> tuple[int, int]:
    """Bounds of the number K of marked items in a population, valid at every moment of a drawing at once.

    Items are drawn one by one without replacement. With probability `confidence` or more, K lies in the bounds after
    every draw, so drawing may stop as soon as they are narrow enough. They hold the K with
    `prior(K) / posterior(K) < 1 / (1 - confidence)`, for a beta-binomial prior: the prior-posterior-ratio martingale of
    Waudby-Smith & Ramdas, Confidence sequences for sampling without replacement, 2020.

    Args:
        population: how many items there are.
        drawn: how many have been drawn.
        found: how many of these are marked.
        beside: how many of the others are known to be marked; K is no smaller than both together.
        confidence: in (0, 1).

    Returns:
        tuple: the smallest and the largest K.

    >>> bounds_while_drawing(500, 0, 0), bounds_while_drawing(500, 200, 0), bounds_while_drawing(500, 500, 7)
    ((0, 500), (0, 11), (7, 7))
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence: expected a number between 0 and 1 such as 0.95, got {confidence}")
    a, b = _PRIOR
    possible = np.arange(found, population - drawn + found + 1)
    prior = scipy.stats.betabinom.logpmf(possible, population, a, b)
    posterior = scipy.stats.betabinom.logpmf(possible - found, population - drawn, a + found, b + drawn - found)
    held = possible[prior - posterior < -np.log(1 - confidence)]
    return max(int(held[0]), found + beside), max(int(held[-1]), found + beside)
