"""The mean of shares, with an interval: each image has one between 0 and 1, such as the area below its own curve."""

from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike


def mean_share(shares: ArrayLike) -> dict[str, Any]:
    """Mean over images with its 95 % interval, by Agresti and Coull's (1998) four added images.

    Two images of share 0 and two of share 1 are added to the n given ones; with their mean m and standard deviation s
    the interval is `m -+ 1.96 s / sqrt(n + 4)`, cut to [0, 1]. Where every share is 0 or 1 this is Agresti and Coull's
    interval of a binomial share, a close relative of Wilson's. It is not empty where all images are alike.

    Args:
        shares: values in [0, 1], (n,).

    Returns:
        dict: accuracy (the mean) and interval [low, high].

    >>> mean_share([0.0, 0.5, 1.0, 0.5])["accuracy"]
    0.5
    """
    values = np.asarray(shares, dtype=np.float64)
    extended = np.concatenate([values, [0.0, 0.0, 1.0, 1.0]])
    half = float(scipy.stats.norm.ppf(0.975)) * float(extended.std()) / len(extended) ** 0.5
    center = float(extended.mean())
    return {"accuracy": float(values.mean()), "interval": [max(0.0, center - half), min(1.0, center + half)]}
