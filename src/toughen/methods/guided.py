"""One attack step that also leads away from the clean image's output, as GAT and NuAT take it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack, attacked
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number
from toughen.threat import ThreatModel, empty_contiguous_like


class Guided(Method, ABC):
    """A method that keeps the output near the clean one, and whose attack leads away from it (Sriramanan et al.).

    The attack starts at a random corner of the ball of `noise` eps, `x0 = x + noise eps steepest(z)`, `z ~ N(0, 1)`,
    and climbs `CE(f(x0), y) + a lam D(f(x), f(x0))`; a is 0 and 1 in turn, from 0 in the first step of an epoch.
    `min CE(f(x), y) + lam D(f(x), f(x'))`, D the distance that a subclass gives.

    Args:
        lam: weight of the distance, at least 0.
        noise: how far the start is from the clean image in units of eps, 0 to 1.
        clean_passes: 1: the attack's f(x) is in the attack's mode; 2: in train mode, as in the published code.
        attack: the step from the noisy image; its own start is not used.
    """

    weight: Tensor
    """lam as it is in this epoch."""
    guided: Tensor
    """1 where the next attack climbs the distance too, else 0."""
    term: str
    """Name of the distance among the terms."""

    def __init__(self, lam: float, noise: float, clean_passes: int, attack: GradientAttack) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.noise", noise, "a share of eps", least=0, most=1)
        if clean_passes not in (1, 2):
            raise InputError(f"method.clean_passes: expected 1 or 2, got {clean_passes}")
        self.lam = lam
        self.noise = noise
        self.clean_passes = clean_passes
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.register_buffer("weight", torch.tensor(float(lam)))
        self.register_buffer("guided", torch.tensor(0.0))

    @property
    def attacks_outputs(self) -> bool:
        """Whether `perturb` needs only the model's outputs in eval mode."""
        return super().attacks_outputs and self.clean_passes == 1

    @abstractmethod
    def distance(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """D of the logits: a value for each image (N,), or a scalar of the batch."""

    @abstractmethod
    def weight_after(self, share: float) -> float:
        """lam in an epoch before which this share of the run is done."""

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Set the epoch's weight; where the length of the run is not known it stays lam."""
        self.guided.zero_()
        if self.epochs is not None:
            self.weight.fill_(self.weight_after(epoch / self.epochs))

    def noisy(self, images: Tensor) -> Tensor:
        """The images that the attack starts from."""
        if self.noise == 0:
            return images
        ball = ThreatModel(self.threat.norm, self.noise * self.threat.radius)
        draws = empty_contiguous_like(images).normal_(generator=self.generator)
        return ball.project(images + ball.radius * ball.steepest(draws, images), images)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy, every other time plus the distance from the clean output."""
        with attacked(model, "train" if self.clean_passes == 2 else self.attack.mode), torch.no_grad():
            clean = model(batch.images)
        weight = self.guided * self.weight  # on the device: nothing waits for it

        def objective(logits: Tensor) -> Tensor:
            return cross_entropy(logits, batch.labels) + weight * self.distance(clean, logits)

        start = self.noisy(batch.images)
        images = self.attack.maximise(model, objective, batch.images, self.threat, self.generator, initial=start)
        self.guided.copy_(1 - self.guided)
        return Perturbed(images, start)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the clean images and the distance of the adversarial output from theirs."""
        adversarial, clean = passes(model, perturbed.images, batch.images)  # the published order
        return {
            "ce": Term(cross_entropy(clean, batch.target)),
            self.term: Term(self.distance(clean, adversarial), self.weight),
        }
