"""A model whose gradient is estimated from its outputs alone, for attacks on one that hides or falsifies it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.attacks.pgd import PGD
from toughen.threat import ThreatModel


class _Estimate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, model: "Estimated") -> Tensor:
        ctx.save_for_backward(images)
        ctx.model = model
        return model.model(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors
        return ctx.model.estimate(images, gradients[0]), None


class Estimated(nn.Module):
    """The model, with its input gradient from central differences along random signs (SPSA, Uesato et al. 2018).

    Of logits f, images x and `g = dL/df`: `mean_k (f(a) - f(b)) g / (a - b)`, where a and b are x + h u_k and x - h u_k
    in the box, and each u_k in {-1, 1}. The expectation is the gradient of f smoothed over 2h, so it also looks past
    steps and waves that are shorter. A backward pass costs `2 directions` passes forward.

    Args:
        model: images in [0, 1] to logits.
        directions: k.
        step: h, in pixel values.
        seed: of the directions, which are new ones in every pass.

    >>> slope = Estimated(nn.Sequential(nn.Flatten(), nn.Linear(1, 1)).requires_grad_(False), directions=1, step=0.1)
    >>> _ = nn.init.constant_(slope.model[1].weight, 3.0)
    >>> image = torch.ones(1, 1, 1, 1, requires_grad=True)
    >>> slope(image).sum().backward()
    >>> round(image.grad.item(), 3)
    3.0
    """

    def __init__(self, model: nn.Module, directions: int, step: float, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.directions = directions
        self.step = step
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """The model's own logits."""
        if torch.is_grad_enabled() and images.requires_grad:
            return _Estimate.apply(images, self)
        return self.model(images)

    def estimate(self, images: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with respect to the images, from that with respect to the logits."""
        total = torch.zeros_like(images)
        with torch.no_grad():
            for _ in range(self.directions):
                signs = (torch.randint(2, images.shape, generator=self.generator) * 2 - 1).to(images)
                one, other = ((images + side * signs).clamp(0, 1) for side in (self.step, -self.step))
                rise = ((self.model(one) - self.model(other)) * gradient).sum(1)
                # At the border of the box a pixel moves less than 2h.
                total += rise.view(-1, 1, 1, 1) / (one - other)
        return total / self.directions


# Of the radius: the estimate looks past waves and steps that are shorter than the ball is wide.
_STEP = 0.5


@dataclass(frozen=True)
class SPSA(Attack):
    """PGD-20 on the margin, of which every gradient is `Estimated`, for models that hide or falsify theirs."""

    directions: int = 32

    @property
    def _attack(self) -> PGD:
        return PGD(steps=20, keep_best=True, loss="margin")

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's, and how a gradient is estimated."""
        return {
            **self._attack.settings(threat),
            "attack": "SPSA",
            "directions": self.directions,
            "difference": f"{_STEP} of the radius",
        }

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        draw = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
        # Signs of this size are half the radius away, in l2 as in l-inf; in l1 they are as far in l2 as its own steps.
        step = _STEP * threat.radius * float(threat.steepest(draw, images).square().mean().sqrt())
        estimated = Estimated(model, self.directions, step, generator.initial_seed())
        return self._attack.run(estimated, images, labels, threat, generator)
