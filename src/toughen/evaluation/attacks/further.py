"""The attacks that follow where a figure is doubted: none of them asks the model for a gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.evaluation.attacks.averaged import in_the_mean
from toughen.evaluation.attacks.estimated import Estimated
from toughen.evaluation.attacks.named import Attempt, Gradient, NamedAttack, Square
from toughen.threat import ThreatModel

# Of the radius: the estimate looks past waves and steps that are shorter than the ball is wide.
_STEP = 0.5


@dataclass(frozen=True)
class BySPSA:
    """PGD-20 on the margin, of which every gradient is `Estimated`, on the images that the attacks before it left."""

    directions: int = 32
    name: str = "further_spsa"
    survivors_only: bool = True
    composite: bool = False

    @property
    def _attack(self) -> PGD:
        return PGD(steps=20, keep_best=True, loss="margin")

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's, and how a gradient is estimated."""
        steps = Gradient(self.name, self._attack, survivors_only=True).settings(threat)
        return {**steps, "attack": "SPSA", "directions": self.directions, "difference": f"{_STEP} of the radius"}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Attempt:
        """Attack one batch."""
        draw = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
        # Signs of this size are half the radius away, in l2 as in l-inf; in l1 they are as far in l2 as its own steps.
        step = _STEP * threat.radius * float(threat.steepest(draw, images).square().mean().sqrt())
        estimated = Estimated(model, self.directions, step, generator.initial_seed())
        return Attempt(self._attack(estimated, images, labels, threat, generator))


def further_attacks(protocol: Mapping[str, Any]) -> tuple[NamedAttack, ...]:
    """What follows in an evaluation of this protocol, each on the images that all before it left."""
    return in_the_mean((Square(queries=1000, name="further_square"), BySPSA()), int(protocol["eot"]))


FURTHER = ("further_square", "further_spsa")
"""Their names."""
