"""Expectation over transformation: a random model attacked in the mean of several passes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult, PlannedAttack
from toughen.attacks.transfer import Transfer
from toughen.errors import InputError
from toughen.losses import log_probabilities
from toughen.threat import ThreatModel


class Averaged(nn.Module):
    """The logarithm of a model's mean softmax over several passes, each with random numbers of its own.

    `log 1/m sum_i softmax(f_i(x))`, N x K. Its gradient is EOT's (Athalye et al. 2018, section 4.3). Costs m passes,
    and for gradients m times the memory.

    Args:
        model: images to logits.
        passes: m.

    >>> _ = torch.manual_seed(0)
    >>> Averaged(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), 1000)(torch.ones(1, 1, 1, 2)).exp().round(decimals=1)
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: nn.Module, passes: int) -> None:
        super().__init__()
        self.model = model
        self.passes = passes

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities, fp32 or better."""
        drawn = torch.stack([log_probabilities(self.model(images)) for _ in range(self.passes)])
        return drawn.logsumexp(dim=0) - math.log(self.passes)


@dataclass(frozen=True)
class EOT(Attack):
    """Expectation over transformation: an attack sees the mean of several passes, in gradients and in what it asks.

    The verdict is not the mean's: each image is held against one new pass of the model itself (see `classify`), as the
    model answers where it is deployed, and the share of held images estimates its expected accuracy without bias. The
    class of the mean, or of most passes, is that of a smoother classifier than the one that was given, and flatters it:
    with the random resizing of the tests most passes are right on 63 % of attacked images, and a pass is right on 52 %.
    To require every pass to be right would depend on their number.

    Attributes:
        attack: what is run.
        passes: whose mean it sees.
    """

    attack: Attack
    passes: int = 20

    @property
    def composite(self) -> bool:  # type: ignore[override]
        """The attack's own."""
        return self.attack.composite

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's own, and the number of passes; AutoAttack is then not RobustBench's standard."""
        settings = self.attack.settings(threat)
        return {**settings, **({"standard": False} if "standard" in settings else {}), "eot": self.passes}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        return replace(self.attack.run(Averaged(model, self.passes), images, labels, threat, generator), held=None)


def in_the_mean(attacks: tuple[PlannedAttack, ...], passes: int) -> tuple[PlannedAttack, ...]:
    """The attacks in the mean of so many passes; as they are for 1. A transfer does not ask the judged model.

    Raises:
        InputError: fewer than one pass.
    """
    if passes < 1:
        raise InputError(f"eot: expected at least 1 pass (1: the model itself), such as 20, got {passes}")
    if passes == 1:
        return attacks
    return tuple(
        each if isinstance(each.attack, Transfer) else replace(each, attack=EOT(each.attack, passes))
        for each in attacks
    )
