"""ARoW, anti-robust weighted regularization, and its ablation CoW."""

from typing import Literal

from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.losses import cross_entropy, kl
from toughen.methods.inner import Inner, inner_maximum
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number

Weight = Literal["arow", "cow"]


def weighted_kl(clean: Tensor, adversarial: Tensor, labels: Tensor, weight: Weight = "arow") -> Tensor:
    """`KL(p_f(x) || p_f(x')) w` of each image, (N,), from logits (N, K); the gradient flows through w too.

    - arow: `w = 1 - p_f(x')_y`, large where the adversarial image is not held
    - cow: `w = p_f(x)_y`, the confidence in the clean image

    >>> import torch
    >>> certain, even = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    >>> weighted_kl(certain, even, torch.tensor([0])), weighted_kl(certain, even, torch.tensor([0]), "cow")
    (tensor([0.3466]), tensor([0.6931]))
    """
    weighting = adversarial if weight == "arow" else clean
    true = (-cross_entropy(weighting, labels)).exp()
    return kl(clean, adversarial) * (1 - true if weight == "arow" else true)


class ARoW(Method):
    """ARoW (Yang 2023): regularise more where the network is less robust; label-smoothed clean training.

    `min CE_s(f(x), y) + 2 lam KL(p_f(x) || p_f(x')) (1 - p_f(x')_y)` with `x' = argmax KL(p_f(x) || p_f(x'))`;
    CE_s is the cross-entropy with label smoothing s. CoW, its ablation, has the weight `p_f(x)_y` instead.

    Source: Yang, Kong, Kim, Improving Adversarial Robustness by Putting More Regularizations on Less Robust Samples,
    ICML 2023, and its code. Published for CIFAR-10: lam 3.5 (the code's --lamb is 2 lam, so 7), smoothing 0.2,
    uniform start, 10 steps of eps / 4, SGD with learning rate 0.1 and weight decay 5e-4, batch 128, 120 epochs, x0.1
    after 60 and 100, SWA of every epoch from 51. For CIFAR-100 the attack climbs the cross-entropy, for stability:
    `inner=ce`.

    With extra unlabelled images and pseudo-labels (the paper's semi-supervised use) nothing changes: the
    pseudo-label is y in both terms.

    When to use it: in TRADES' place, where more robust accuracy at about the same clean accuracy is wanted, and with
    extra unlabelled images.

    Deviations: the code adds 1e-12 to the adversarial probability inside the logarithm, which caps it at
    -log 1e-12 = 27.6; here it comes from log-softmax and has no cap. Both agree to 1e-6 while all adversarial
    probabilities exceed about 1e-6. The clean output is computed once for the attack instead of in every step.

    Cost: 13 forward and 12 backward passes a step; standard training has 1 and 1.

    Args:
        lam: the paper's lambda, at least 0; the regulariser counts 2 lam times.
        smoothing: label smoothing of the clean cross-entropy, 0 to below 1.
        weight: arow (1 - p_f(x')_y) or cow (p_f(x)_y).
        inner: what the attack raises: kl, or ce for many classes.
        attack: the inner maximum, an ascent.
    """

    def __init__(
        self,
        lam: float = 3.5,
        smoothing: float = 0.2,
        weight: Weight = "arow",
        inner: Inner = "kl",
        attack: GradientAttack = GradientAttack(steps=10),
    ) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.smoothing", smoothing, least=0, below=1)
        check_choice("method.weight", weight, Weight)
        check_choice("method.inner", inner, Inner)
        self.lam = lam
        self.smoothing = smoothing
        self.weight: Weight = weight
        self.weighting = weight
        self.inner: Inner = inner
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def own_smoothing(self) -> str | None:
        """The option that stops its label smoothing; None where that is 0."""
        return "--method.smoothing 0" if self.smoothing else None

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the clean output, or on the cross-entropy, finds."""
        return Perturbed(inner_maximum(model, batch, self.inner, self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Label-smoothed cross-entropy of the clean images, and the weighted KL to the adversarial ones."""
        clean, adversarial = passes(model, batch.images, perturbed.images)
        return {
            "supervised": Term(cross_entropy(clean, batch.target, self.smoothing)),
            "regularizer": Term(weighted_kl(clean, adversarial, batch.labels, self.weight), 2 * self.lam),
        }
