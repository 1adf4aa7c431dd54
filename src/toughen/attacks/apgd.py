"""APGD (Croce & Hein 2020), run by pyautoattack."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.models.input_gradients import FiniteGradients
from toughen.models.mode import attacked
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel

PGD_IS_WEAK = frozenset({"l1"})
"""The norms in which PGD leaves several times as many images as APGD."""


@dataclass(frozen=True)
class APGD(Attack):
    """APGD (Croce & Hein 2020) by pyautoattack: on cross-entropy, then on DLR where there are three classes or more.

    In l1 it begins with larger radii, as in AutoAttack (Croce & Hein 2021), where it has 10 steps or more.

    Attributes:
        steps: of each run.
        restarts: runs on each loss.
    """

    steps: int = 100
    restarts: int = 1

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Steps and restarts."""
        runs = {"steps": self.steps, "restarts": self.restarts, "losses": ["ce", "dlr"]}
        return {"attack": "APGD", "library": "pyautoattack", **runs}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        found = images.contiguous()
        with attacked(model):
            with torch.no_grad():
                classes = model(images[:1]).shape[1]
            for loss in ("ce", "dlr")[: 1 if classes < 3 else 2]:
                attack = APGDAttack(
                    FiniteGradients(model),
                    n_iter=self.steps,
                    norm=threat.library_norm,
                    n_restarts=self.restarts,
                    eps=threat.radius,
                    seed=generator.initial_seed(),
                    loss=loss,
                    device=images.device,
                    use_largereps=threat.norm == "l1" and self.steps >= 10,
                    logger=_SILENT,
                )
                with own_random_state():
                    better = attack.perturb(images.contiguous(), labels).detach()  # in l1 the library leaves a graph
                # Images that it did not break come back as they were.
                found = torch.where((better != images).flatten(1).any(1).view(-1, 1, 1, 1), better, found)
        return AttackResult(found)


# Without one the library warns of every image without a gradient.
_SILENT = logging.Logger("pyautoattack", logging.CRITICAL)
