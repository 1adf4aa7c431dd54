"""The nearest point of the l1 ball within the box of images."""

import torch
from torch import Tensor


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """A value an image, shape (N,), in a shape that broadcasts over images such as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def nearest_in_l1_and_box(delta: Tensor, x: Tensor, radius: float, limit: float) -> Tensor:
    """Nearest perturbation with l1 norm at most `radius` and `x + delta` in [0, 1].

    It is `clip(soft_threshold(delta, t))` for the smallest threshold t that meets the radius (Croce & Hein 2021);
    the norm falls monotonically in t, so t is found by bisection.
    """

    def at(threshold: Tensor) -> Tensor:
        shrunk = delta.sign() * (delta.abs() - per_image(threshold, delta)).clamp_min(0)
        return torch.minimum(torch.maximum(shrunk, -x), 1 - x)

    def size(candidate: Tensor) -> Tensor:
        return candidate.abs().flatten(1).sum(1)

    low = torch.zeros(len(delta), device=delta.device, dtype=delta.dtype)
    boxed = at(low)
    inside = size(boxed) <= limit
    high = delta.abs().flatten(1).amax(1) if delta.numel() else low
    for _ in range(50 if delta.dtype == torch.float64 else 26):
        middle = (low + high) / 2
        over = size(at(middle)) > radius
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return torch.where(per_image(inside, delta), boxed, at(high))
