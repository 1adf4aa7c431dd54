"""TRADES."""

import torch
from torch import Tensor, nn

from toughen.attacks import Ascent, attacked
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl, kl_to
from toughen.methods.method import Method, Perturbed, Term, Terms


def trades_terms(clean: Tensor, adversarial: Tensor, target: Tensor, beta: float) -> Terms:
    """`CE(f(x), y)` and `beta KL(p_f(x) || p_f(x'))` from the logits of clean and adversarial images."""
    return {"natural": Term(cross_entropy(clean, target)), "robust_kl": Term(kl(clean, adversarial), beta)}


class TRADES(Method):
    """TRADES (Zhang 2019): clean accuracy traded against stability of the output, by one weight.

    `min CE(f(x), y) + beta KL(p_f(x) || p_f(x'))` with `x' = argmax KL(p_f(x) || p_f(x'))`.

    Source: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019. Published for
    CIFAR-10: beta 6, start x + 0.001 N(0, 1), 10 steps of 0.007 in the l-inf ball of 0.031.

    When to use it: as the default: stable, few settings, and one weight to trade robust against clean accuracy.

    Deviations: the clean output is computed once for the attack instead of in every inner step (the same figures, a
    third of the cost); the default step size follows eps (2.5 eps / steps = 2/255 at 8/255).

    Cost: 13 forward and 12 backward passes a step; standard training has 1 and 1.

    Args:
        beta: weight of the KL term, at least 0; a higher one buys robust accuracy with clean accuracy.
        attack: the inner maximum, an ascent on the KL term.
    """

    def __init__(self, beta: float = 6.0, attack: Ascent = Ascent(steps=10, start="normal")) -> None:
        super().__init__()
        if beta < 0:
            raise InputError(f"method.beta: expected a weight of at least 0, got {beta}")
        self.beta = beta
        self.attack = attack

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Ascent on the KL between the clean and the perturbed output."""
        with attacked(model, self.attack.mode), torch.no_grad():
            target = model(batch.images)
        return Perturbed(self.attack.maximise(model, kl_to(target), batch.images, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the clean images and KL to the adversarial ones."""
        return trades_terms(model(batch.images), model(perturbed.images), batch.target, self.beta)
