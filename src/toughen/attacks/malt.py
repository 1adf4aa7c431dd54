"""MALT (Melamed et al. 2024): targeted APGD on the classes whose boundary is nearest, not on the most likely ones."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from pyautoattack.autopgd_base import APGDAttack_targeted
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.models.input_gradients import FiniteGradients
from toughen.models.mode import attacked
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class MALT(Attack):
    """APGD on the margin to one class after another, the nearest first; an image leaves as soon as a run broke it.

    How near a class is says the model made linear at the clean image: class k comes before others where
    `(z_k - z_y) / max over ||d|| <= 1 of <grad(z_k - z_y), d>` is larger, its distance in the threat model's norm.
    Adversarially trained networks give away at the first class nearly all that AutoAttack's nine find.

    Deviations from Melamed et al., MALT Powers Up Adversarial Attacks, NeurIPS 2024: the distance is in the norm of the
    threat model, not l2; the loss is the margin to the class, which needs no four logits, not DLR; fewer classes and
    steps, as there is an audit behind it. In l1 APGD does not begin with larger radii.

    Attributes:
        targets: classes that are aimed at; at most all wrong ones.
        steps: of the run on each.
        candidates: likeliest wrong classes whose distance is looked at; each costs a backward pass.
    """

    targets: int = 4
    steps: int = 25
    candidates: int = 20

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Steps and targets."""
        runs = {"steps": self.steps, "targets": self.targets, "candidates": self.candidates}
        return {"attack": "MALT", "library": "pyautoattack", **runs}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch; images that were not broken come back as they were."""
        adversarial, left = images.clone(), torch.arange(len(images), device=images.device)
        with attacked(model):
            judged = FiniteGradients(model)
            order = nearest_classes(judged, images, labels, threat, self.candidates)[:, : self.targets]
            for number, aim in enumerate(order.T):
                if not len(left):
                    break
                attack = _Aimed(
                    judged,
                    n_iter=self.steps,
                    norm=threat.library_norm,
                    eps=threat.radius,
                    device=images.device,
                    logger=_SILENT,
                )
                attack.y_target = aim[left]
                attack.init_hyperparam(images)
                with own_random_state(), torch.no_grad():
                    torch.manual_seed(generator.initial_seed() + number)
                    _, right, _, found = attack.attack_single_run(images[left].contiguous(), labels[left])
                broken = right == 0
                adversarial[left[broken]] = found[broken].to(images.dtype)
                left = left[~broken]
        return AttackResult(adversarial)


def nearest_classes(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, candidates: int) -> Tensor:
    """The likeliest wrong classes of each image, by their distance in the model made linear there, the nearest first.

    Args:
        model: images to logits, K of them.
        images: N of them.
        labels: (N,).
        threat: whose norm the distance is in.
        candidates: how many classes; at most K - 1.

    Returns:
        Tensor: int64, N x min(candidates, K - 1).
    """
    x = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model(x)
        wrong = logits.detach().scatter(1, labels[:, None], -torch.inf)
        classes = wrong.topk(min(candidates, logits.shape[1] - 1), dim=1).indices
        gaps = logits.gather(1, classes) - logits.gather(1, labels[:, None])
        scores = []
        for gap in gaps.T:
            (gradient,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            gain = (gradient * threat.steepest(gradient, x.detach())).flatten(1).sum(1)
            scores.append(gap.detach() / gain.clamp_min(1e-30))
    return classes.gather(1, torch.stack(scores, dim=1).argsort(dim=1, descending=True))


class _Aimed(APGDAttack_targeted):
    """The library's targeted APGD, up the margin of the target over the label."""

    def dlr_loss_targeted(self, logits: Tensor, labels: Tensor) -> Tensor:
        aims, own = (logits.gather(1, classes[:, None]).squeeze(1) for classes in (self.y_target, labels))
        return aims - own


# Without one the library warns of every image without a gradient.
_SILENT = logging.Logger("pyautoattack", logging.CRITICAL)
