"""The upper bound of the robust risk that ARoW is derived from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from toughen.losses import cross_entropy


@dataclass(frozen=True)
class RobustRisk:
    """A robust risk and ARoW's bound of it, each image 0 or 1, (N,).

    Attributes:
        clean: `1[y != F(x)]`, the first term of the bound.
        unstable: `1[F(x) != F(z)] 1[p_f(z)_y < 1/2]`, the second.
        robust: `1[y != F(z)]` or `1[y != F(x)]`: what is bounded.
    """

    clean: Tensor
    unstable: Tensor
    robust: Tensor

    @property
    def bound(self) -> Tensor:
        """`clean + unstable`, 0 to 2, at least `robust` for every image."""
        return self.clean + self.unstable


def robust_risk(clean: Tensor, perturbed: Tensor, labels: Tensor) -> RobustRisk:
    """`R_rob <= E 1[y != F(x)] + E 1[F(x) != F(z)] 1[p_f(z)_y < 1/2]` (Yang et al. 2023, ARoW), term by term.

    z is the perturbed image that changes the prediction, where one exists. A found z gives the risk under that attack
    and its bound; both grow with a stronger attack. The bound is exact but for images that are misclassified clean
    and whose prediction the perturbation changes: these count twice.

    Args:
        clean: logits of the images, N x K.
        perturbed: logits of perturbed images.
        labels: int64, (N,).

    >>> risk = robust_risk(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([0]))
    >>> risk.bound, risk.robust
    (tensor([1.]), tensor([1.]))
    """
    predicted, after = clean.argmax(dim=1), perturbed.argmax(dim=1)
    # A wrong prediction leaves the true class at most 1/2, whatever a tie or rounding says of it.
    unsure = (torch.exp(-cross_entropy(perturbed, labels)) < 0.5) | (after != labels)
    return RobustRisk(
        clean=(predicted != labels).float(),
        unstable=((predicted != after) & unsure).float(),
        robust=((predicted != labels) | (after != labels)).float(),
    )
