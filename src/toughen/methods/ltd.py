"""LTD, low temperature distillation."""

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import log_probabilities
from toughen.methods.helped import Helped
from toughen.methods.inner import inner_maximum
from toughen.methods.method import Perturbed, Terms
from toughen.methods.trades import trades_terms
from toughen.models.passes import passes
from toughen.numbers import check_number


def ltd_terms(clean: Tensor, adversarial: Tensor, teacher: Tensor, temperature: float, beta: float) -> Terms:
    """`CE(f(x), softmax(g(x) / T))` and `beta KL(p_f(x) || p_f(x'))`, from logits; those of the teacher are fixed."""
    soft = log_probabilities(teacher.detach() / temperature).exp()
    return trades_terms(clean, adversarial, soft, beta)


class LTD(Helped):
    """LTD (Chen & Lee 2021): TRADES whose labels are a standard-trained teacher's, at a low temperature.

    `min CE(f(x), softmax(g(x) / T)) + beta KL(p_f(x) || p_f(x'))` with `x' = argmax KL(p_f(x) || p_f(x'))`. g is a
    fixed teacher that was trained without an adversary. The student has temperature 1 in training and use: with the
    same high temperature in both, as in defensive distillation, its gradients would vanish and mask attacks.

    g is trained first, with the same data and network:

        toughen train --method Standard --out runs/standard
        toughen train --method LTD --method.standard runs/standard

    Source: Chen, Lee, LTD: Low Temperature Distillation for Robust Adversarial Training, arXiv 2111.02331. Published
    for CIFAR-10, WRN-34-10 with AWP: 85.2 / 56.9 per cent clean / AutoAttack.

    When to use it: where images are ambiguous between classes, and a standard-trained network of the same data is at
    hand.

    Deviations: not known. The authors' training code is not public, so that nothing here could be compared with it: the
    formula is held by plain loops. The temperature and the weight are ours; choose them on held-out images. Labels
    that the run softens or mixes are not used: the teacher's are.

    Cost: 13 forward and 12 backward passes of f and 1 forward of g a step; standard training has 1 and 1.

    Args:
        standard: the teacher: the folder of a run, or a .safetensors file for the same network.
        temperature: of the teacher, above 0; towards 0 its labels become those of its decisions.
        beta: weight of the KL term, at least 0.
        attack: the inner maximum, an ascent on the KL term.
    """

    def __init__(
        self,
        standard: str | None = None,
        temperature: float = 5.0,
        beta: float = 6.0,
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__(standard)
        check_number("method.temperature", temperature, above=0)
        check_number("method.beta", beta, "a weight", least=0)
        self.temperature = temperature
        self.beta = beta
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the clean output finds."""
        return Perturbed(inner_maximum(model, batch, "kl", self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy to the teacher's soft labels, and KL."""
        with torch.no_grad():
            teacher = self.loaded_helper()(batch.images)
        clean, adversarial = passes(model, batch.images, perturbed.images)
        return ltd_terms(clean, adversarial, teacher, self.temperature, self.beta)
