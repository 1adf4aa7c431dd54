"""TRADES."""

from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl
from toughen.methods.inner import inner_maximum
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number


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
    third of the cost); the default step size follows eps (2.5 eps / steps = 2/255 at 8/255). The code passes the clean
    images twice through the network for the loss, which changes no gradient but counts them twice in BatchNorm's
    running statistics: `clean_passes=2`. AWP's code for TRADES does so too, after the adversarial images:
    `adversarial_first`.

    Cost: 13 forward and 12 backward passes a step, one more of each with 2 clean passes; standard training has 1 and 1.

    Args:
        beta: weight of the KL term, at least 0; a higher one buys robust accuracy with clean accuracy.
        clean_passes: how often the clean images pass through the network for the loss, 1 or 2; published: 2.
        adversarial_first: whether the adversarial images pass before the clean ones, as in AWP's code.
        attack: the inner maximum, an ascent on the KL term.
    """

    def __init__(
        self,
        beta: float = 6.0,
        clean_passes: int = 1,
        adversarial_first: bool = False,
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__()
        if clean_passes not in (1, 2):
            raise InputError(f"method.clean_passes: expected 1 or 2, got {clean_passes}")
        check_number("method.beta", beta, "a weight", least=0)
        self.beta = beta
        self.clean_passes = clean_passes
        self.adversarial_first = adversarial_first
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL between the clean and the perturbed output finds."""
        return Perturbed(inner_maximum(model, batch, "kl", self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy of the clean images and KL to the adversarial ones."""
        again = [batch.images] * (self.clean_passes - 1)
        if self.adversarial_first:
            adversarial, clean, *other = passes(model, perturbed.images, batch.images, *again)
        else:
            clean, adversarial, *other = passes(model, batch.images, perturbed.images, *again)
        terms = trades_terms(clean, adversarial, batch.target, self.beta)
        if other:
            terms["robust_kl"] = Term(kl(other[0], adversarial), self.beta)
        return terms
