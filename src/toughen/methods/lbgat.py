"""LBGAT, learnable boundary guided adversarial training."""

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl, squared_error
from toughen.methods.guide import Guide
from toughen.methods.inner import Inner, inner_maximum
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number


def lbgat_terms(adversarial: Tensor, clean: Tensor, guide: Tensor, target: Tensor, beta: float) -> Terms:
    """`CE(g(x), y)`, `MSE(f(x'), g(x))` and `beta KL(p_f(x) || p_f(x'))`, from logits.

    The MSE is a mean over the classes; it sends its gradient into both networks.
    """
    return {
        "guide_ce": Term(cross_entropy(guide, target)),
        "logit_mse": Term(squared_error(adversarial, guide)),
        "robust_kl": Term(kl(clean, adversarial), beta),
    }


class LBGAT(Method):
    """LBGAT (Cui 2021): adversarial logits follow those of a guide that learns beside it on clean images.

    `min CE(g(x), y) + MSE(f(x'), g(x)) + beta KL(p_f(x) || p_f(x'))` over the trained network f and the guide g in
    one optimiser, with `x' = argmax KL(p_f(x) || p_f(x'))`. Prediction uses f, and f is the model that a run saves.

    Source: Cui et al., Learnable Boundary Guided Adversarial Training, ICCV 2021, and its code. Published for
    CIFAR-10 and CIFAR-100: WRN-34-10 with a ResNet-18 as guide, beta 0 (LBGAT0) or 6 (LBGAT6), start x + 0.001 N(0,
    1), 10 steps of 0.007 in the l-inf ball of 0.031, SGD with learning rate 0.1 (0.02 in the first epoch) and
    weight decay 2e-4, batch 128, 100 epochs, x0.1 from epochs 76 and 91.

    When to use it: where the clean accuracy of a naturally trained guide is wanted in the robust network, at one more
    network's memory.

    Deviations: the clean output is computed once for the attack instead of in every step. With beta 0 the clean
    images still pass through f, without gradient: as in the code, they take part in its BatchNorm statistics.

    Cost: 13 forward and 11 backward passes of f (12 backward with beta above 0) and 1 and 1 of g a step; standard
    training has 1 and 1.

    Args:
        guide: the network that learns from clean images: default the architecture of the trained one, fresh.
        beta: weight of the KL term, at least 0.
        inner: what the attack raises: kl, or ce.
        save_guide: keep the guide too, as guide.safetensors beside model.safetensors.
        attack: the inner maximum, an ascent.
    """

    def __init__(
        self,
        guide: Guide = Guide(),
        beta: float = 0.0,
        inner: Inner = "kl",
        save_guide: bool = False,
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__()
        check_number("method.beta", beta, "a weight", least=0)
        check_choice("method.inner", inner, Inner)
        self.guide = guide
        self.beta = beta
        self.inner: Inner = inner
        self.save_guide = save_guide
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.guide_network: nn.Module | None = None

    def prepare(self, model: nn.Module) -> nn.Module:
        """Build the guide; the trained network stays as it is."""
        self.guide_network = self.guide.build(model)
        return model

    def auxiliary_networks(self) -> dict[str, nn.Module]:
        """The guide, where it is to be saved."""
        return self.guides() if self.save_guide else {}

    def guides(self) -> dict[str, nn.Module]:
        """The guide."""
        return {"guide": self._guide()}

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the clean output, or on the cross-entropy, finds."""
        return Perturbed(inner_maximum(model, batch, self.inner, self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The guide's cross-entropy, the distance of the adversarial logits to the guide's, and the KL."""
        if self.beta > 0:
            adversarial, clean = passes(model, perturbed.images, batch.images)
        else:  # the clean pass only counts in BatchNorm's statistics
            adversarial = model(perturbed.images)
            with torch.no_grad():
                clean = model(batch.images)
        return lbgat_terms(adversarial, clean, self._guide()(batch.images), batch.target, self.beta)

    def _guide(self) -> nn.Module:
        if self.guide_network is None:
            raise InputError("LBGAT has no guide yet; build it with model = method.prepare(model)")
        return self.guide_network
