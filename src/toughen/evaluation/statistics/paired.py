"""Two methods on the same images, each by several networks that differ in their seed."""

from dataclasses import dataclass
from math import lcm

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from toughen.errors import InputError


@dataclass(frozen=True)
class PairedDifference:
    """A difference of two shares of the same images.

    Attributes:
        difference: the first's share minus the second's, each the mean over its networks.
        interval: of it, at 95 %, for other images of the same kind and the same networks.
        p: exact sign-flip test over the images.
    """

    difference: float
    interval: tuple[float, float]
    p: float


def paired_over_images(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Do two methods differ on these images, each taken as the mean of its networks?

    With d_i the share of the first's networks that hold on image i minus the second's, the difference is the mean of
    d_i, and its interval is Student's over the images. The networks of a method hold and fall on much the same images,
    so an image counts once, not once a network. The test asks how often a sum as far from 0 as that of d_i comes about
    where each d_i may as well have the other sign, and counts all signs there are; with one network each it is the
    exact McNemar test.

    Args:
        first: bool (S, N): whether each of the first method's networks held on each image.
        second: bool (T, N), the same images in the same order.
        confidence: of the interval.

    Raises:
        InputError: other shapes.

    >>> found = paired_over_images([[1, 1, 1, 1, 1, 0, 1]], [[0, 0, 0, 0, 0, 0, 1]])
    >>> round(found.difference, 4), round(found.p, 4)
    (0.7143, 0.0625)
    """
    a, b = np.atleast_2d(np.asarray(first, dtype=np.int64)), np.atleast_2d(np.asarray(second, dtype=np.int64))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise InputError(f"paired: expected networks x images of both methods, got shapes {a.shape} and {b.shape}")
    scale = lcm(len(a), len(b))
    whole = a.sum(0) * (scale // len(a)) - b.sum(0) * (scale // len(b))
    each, n = whole / scale, whole.size
    middle = float(each.mean())
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * each.std(ddof=1) / n**0.5) if n > 1 else 1.0
    return PairedDifference(middle, (max(-1.0, middle - half), min(1.0, middle + half)), _sign_flips(whole))


def _sign_flips(whole: NDArray[np.int64]) -> float:
    """The share of all choices of signs whose sum is as far from 0 as that of these numbers."""
    found = abs(int(whole.sum()))
    chances = np.ones(1)  # of the sums from -reach to reach
    for value, count in zip(*np.unique(np.abs(whole[whole != 0]), return_counts=True), strict=True):
        own = np.zeros(2 * value * count + 1)
        own[:: 2 * value] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, own)
    reach = len(chances) // 2
    sums = np.arange(-reach, reach + 1)
    return min(1.0, float(chances[np.abs(sums) >= found].sum()))
