"""E-AT, extreme norm adversarial training."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from toughen.attacks import AdaptivePGD, GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.hardware.processes import several_processes
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.threat import ThreatModel


class EAT(Method):
    """E-AT (Croce & Hein 2022): robust in several norms at the cost of one, each batch attacked in one of them.

    `min CE(f(x'), y)` with `x' = argmax CE(f(x'), y)` in one threat model a step, drawn with a probability in
    proportion to `1 - a`; a is the share of images that withstood the attacks in that threat model so far in the run.
    Until each has been drawn once all are equally likely. The convex hull of the l-inf and the l1 ball holds most of
    the l2 ball, so that l2 needs no training of its own.

    Source: Croce, Hein, Adversarial Robustness against Multiple and Single lp-Threat Models via Quick Fine-Tuning of
    Robust Classifiers, ICML 2022, and its code. Published for CIFAR-10: l-inf 8/255 and l1 12, 10 steps of APGD from
    the clean image, fine-tuning of a network that is robust in one of the norms with SGD and weight decay 5e-4.

    When to use it: where an attacker may choose the norm. A network that is robust in l-inf alone is hardly so in l1.
    Evaluate in each norm (`toughen evaluate RUN --threat.norm l1`), and in l2.

    Deviations: the code draws an untried norm with equal weights, as here, but fails where all images withstand; here
    these weights never become 0. The run's threat is the one by which its checkpoint is chosen: --select last, or look
    at the others too. With several processes each draws a norm for itself, and they share the counts.

    Cost: 12 forward and 11 backward passes a step; standard training has 1 and 1.

    Args:
        others: the threat models beside the run's: a list of norms and radii; default l1 with its customary radius.
        attack: the inner maximum, an ascent on the cross-entropy in any norm.
    """

    right: Tensor
    seen: Tensor

    def __init__(self, others: list[ThreatModel] | None = None, attack: GradientAttack = AdaptivePGD(steps=10)) -> None:
        super().__init__()
        self.others = [of_kind("method.others", each, ThreatModel) for each in others or [ThreatModel("l1")]]
        self.attack = of_kind("method.attack", attack, GradientAttack)
        for name in ("right", "seen"):
            self.register_buffer(name, torch.zeros(1 + len(self.others)))

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """The run's threat model, and the others."""
        return (self.threat, *self.others)

    def draw(self) -> int:
        """Place of the threat model that the next batch is attacked in; waits for the device."""
        weights = torch.where((self.seen > 0).all(), 1 - self.right / self.seen.clamp_min(1), 1.0)
        return int(torch.multinomial(weights.clamp_min(1e-6), 1, generator=self.generator))

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the cross-entropy finds in the drawn threat model; counts those that withstand."""
        chosen = self.draw()
        right = torch.ones(len(batch), dtype=torch.bool, device=batch.images.device)

        def objective(logits: Tensor) -> Tensor:
            right.logical_and_(logits.detach().argmax(dim=1) == batch.labels)
            return cross_entropy(logits, batch.labels)

        images = self.attack.maximise(model, objective, batch.images, self.threats[chosen], self.generator)
        counted = torch.zeros(2, len(self.threats), device=right.device)
        counted[0, chosen], counted[1, chosen] = right.sum(), len(batch)
        if several_processes():
            dist.all_reduce(counted)
        self.right += counted[0]
        self.seen += counted[1]
        return Perturbed(images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the adversarial images."""
        return {"adversarial_ce": Term(cross_entropy(model(perturbed.images), batch.target))}
