"""Attacks that know the label."""

from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.attacks.gradient import GradientAttack, Start
from toughen.contracts import check_choice
from toughen.losses import LABELLED, LabelledLoss, margin
from toughen.models.mode import Mode
from toughen.numbers import Number
from toughen.settings.description import describe
from toughen.threat import ThreatModel


class PGD(GradientAttack, Attack):
    """Projected gradient descent (Madry et al. 2018): several steps up a loss of the label.

    Args:
        steps: number of gradient steps, at least 1.
        step_size: length of a step in the threat model's norm; default `2.5 eps / steps`, but never more than eps from
            the clean image or 1.25 eps from a random start.
        start: a uniform point of the ball, the clean image plus 0.001 N(0, 1), or the clean image.
        restarts: number of runs from different starts; each image keeps its best.
        keep_best: keep the best point that each image met (a misclassified one first), instead of its last one.
        mode: eval: BatchNorm is fixed during the attack; train: it uses, and updates, its batch statistics.
        loss: ce (cross-entropy), margin (Carlini-Wagner) or dlr (difference of logits ratio).

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> x = torch.full((1, 1, 2, 2), 0.5)
    >>> attack = PGD(steps=3, start="clean")
    >>> (attack(model, x, torch.tensor([0]), ThreatModel("linf", 0.1)) - x).abs()
    tensor([[[[0.1000, 0.1000],
              [0.1000, 0.1000]]]])
    """

    def __init__(
        self,
        steps: int = 10,
        step_size: Number | None = None,
        start: Start = "uniform",
        restarts: int = 1,
        keep_best: bool = False,
        mode: Mode = "eval",
        loss: LabelledLoss = "ce",
    ) -> None:
        super().__init__(steps, step_size, start, restarts, keep_best, mode)
        check_choice("attack.loss", loss, LabelledLoss)
        self.loss: LabelledLoss = loss

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's class and settings, with the step size that holds in this threat model."""
        steps = {"steps": self.steps, "step_size": self.step_size_under(threat)}
        return {"attack": type(self).__name__, **describe(self)["init_args"], **steps}

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator | None = None,
        *,
        initial: Tensor | None = None,
    ) -> AttackResult:
        """Attack one batch; `initial` as in `GradientAttack.maximise`."""
        loss = LABELLED[self.loss]
        found = self.maximise(
            model,
            lambda logits: loss(logits, labels),
            images,
            threat,
            generator,
            initial=initial,
            success=lambda logits: margin(logits, labels) > 0,
        )
        return AttackResult(found)


class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of length eps from the clean image.

    Args:
        step_size: length of the step; default eps.
        start: clean, or a random start (with the step then 1.25 eps by default: FGSM-RS, Wong et al. 2020).
        mode: eval: BatchNorm is fixed during the attack; train: it uses, and updates, its batch statistics.
        loss: ce (cross-entropy), margin (Carlini-Wagner) or dlr (difference of logits ratio).
    """

    def __init__(
        self,
        step_size: Number | None = None,
        start: Start = "clean",
        mode: Mode = "eval",
        loss: LabelledLoss = "ce",
    ) -> None:
        super().__init__(steps=1, step_size=step_size, start=start, mode=mode, loss=loss)
