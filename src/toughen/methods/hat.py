"""HAT, helper-based adversarial training."""

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import cross_entropy, kl
from toughen.methods.helped import Helped
from toughen.methods.inner import inner_maximum
from toughen.methods.method import Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number


def hat_terms(
    clean: Tensor,
    adversarial: Tensor,
    beyond: Tensor,
    target: Tensor,
    helper_labels: Tensor,
    beta: float,
    gamma: float,
) -> Terms:
    """`CE(f(x), y)`, `beta KL(p_f(x) || p_f(x'))` and `gamma CE(f(x + h d), helper label)`, from logits.

    `beyond` are the logits at x + h d.
    """
    return {
        "natural": Term(cross_entropy(clean, target)),
        "robust_kl": Term(kl(clean, adversarial), beta),
        "helper_ce": Term(cross_entropy(beyond, helper_labels), gamma),
    }


class HAT(Helped):
    """HAT (Rade 2022): TRADES with images beyond the ball, labelled by a standard-trained network, for clean accuracy.

    `min CE(f(x), y) + beta KL(p_f(x) || p_f(x')) + gamma CE(f(x + h d), argmax f_std(x'))` with
    `x' = x + d = argmax KL(p_f(x) || p_f(x'))`. f_std is fixed. x + h d may leave [0, 1], as in the published code.

    f_std is trained first, with the same data and network:

        toughen train --method Standard --out runs/standard
        toughen train --method HAT --method.standard runs/standard

    Source: Rade, Moosavi-Dezfooli, Reducing Excessive Margin to Achieve a Better Accuracy vs. Robustness Trade-off,
    ICLR 2022, and its code. Published for CIFAR-10, ResNet-18: beta 2.5, gamma 0.5, h 2, start x + 0.001 N(0, 1), 10
    steps of 2/255 in the l-inf ball of 8/255, SGD with learning rate 0.21 (one cycle), Nesterov momentum and weight
    decay 5e-4, 50 epochs.

    When to use it: where TRADES loses too much clean accuracy and a standard-trained network of the same data is at
    hand.

    Deviations: none in the loss; the default step size follows eps (2.5 eps / steps = 2/255 at 8/255).

    Cost: 14 forward and 13 backward passes of f and 1 forward of f_std a step; standard training has 1 and 1.

    Args:
        standard: the standard-trained network: the folder of a run, or a .safetensors file for the same network.
        beta: weight of the KL term, at least 0.
        gamma: weight of the helper term, at least 0.
        h: how many perturbations beyond x the helper images lie, at least 1.
        attack: the inner maximum, an ascent on the KL term.
    """

    def __init__(
        self,
        standard: str | None = None,
        beta: float = 2.5,
        gamma: float = 0.5,
        h: float = 2.0,
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__(standard)
        for name, weight in (("beta", beta), ("gamma", gamma)):
            check_number(f"method.{name}", weight, "a weight", least=0)
        # 1 is the adversarial image itself.
        check_number("method.h", h, "a factor", least=1)
        self.beta = beta
        self.gamma = gamma
        self.h = h
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the clean output finds."""
        return Perturbed(inner_maximum(model, batch, "kl", self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy, KL, and the cross-entropy beyond the ball with the helper's labels."""
        with torch.no_grad():
            helper_labels = self.loaded_helper()(perturbed.images).argmax(dim=1)
        beyond = batch.images + self.h * (perturbed.images - batch.images)
        clean, adversarial, helped = passes(model, batch.images, perturbed.images, beyond)
        return hat_terms(clean, adversarial, helped, batch.target, helper_labels, self.beta, self.gamma)
