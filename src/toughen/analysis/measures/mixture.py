"""How far apart the distributions are that a BatchNorm sees of clean and of adversarial images."""

import torch
from torch import Tensor


def wasserstein2(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Wasserstein-2 distance of two normal distributions for each channel, at least 0.

    `W_2^2 = (mu_1 - mu_2)^2 + (sigma_1 - sigma_2)^2`, the one-dimensional case of Dowson & Landau 1982. BatchNorm
    itself knows a channel by its mean and variance alone.

    Args:
        mean: of one distribution, (C,).
        variance: of it, at least 0, (C,).
        other_mean: of the other, (C,).
        other_variance: of it, (C,).

    >>> wasserstein2(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([25.0]))
    tensor([5.])
    """
    return torch.hypot(mean - other_mean, variance.sqrt() - other_variance.sqrt())


def relative_shift(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> float:
    """`wasserstein2` in standard deviations of the two together, root mean square over the channels; at least 0.

    `sqrt(mean_c W_2^2(c) / ((sigma_1^2(c) + sigma_2^2(c)) / 2))`; layers of any scale can be compared by it. Channels
    that are constant in both distributions say nothing and are left out.
    """
    together = (variance + other_variance) / 2
    alive = together > 0
    if not alive.any():
        return 0.0
    distance = wasserstein2(mean, variance, other_mean, other_variance)
    return float((distance[alive].square() / together[alive]).mean().sqrt())


def channel_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel over images and places: what BatchNorm computes, (C,) each.

    Args:
        features: N x C or N x C x H x W.
    """
    over = [axis for axis in range(features.ndim) if axis != 1]
    variance, mean = torch.var_mean(features.double(), dim=over, correction=0)
    return mean, variance
