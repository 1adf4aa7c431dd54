"""D2R, dual regularization with collaborative adversarial generation."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import check_choice, of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl, log_probabilities, squared_error
from toughen.methods.guide import Guide
from toughen.methods.inner import kl_from_clean
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number

Function = Literal["kl", "reverse_kl", "gap", "js", "mse"]
OverClasses = Literal["mean", "sum"]
Gradient = Literal["target", "guide", "mixture"]


def divergence(first: Tensor, second: Tensor, over_classes: OverClasses = "mean", log_offset: float = 0.0) -> Tensor:
    """`KL(p || q) = sum_k p_k (log(p_k + c) - log q_k)` of logits, (N,), divided by K for the mean; c is `log_offset`.

    c raises each of the K summands by 0 to c, so the mean over the classes by 0 to c.

    >>> one_hot, even = torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    >>> divergence(one_hot, even), divergence(one_hot, even, over_classes="sum")
    (tensor([0.3466]), tensor([0.6931]))
    """
    values = kl(first, second)
    if log_offset:
        log_p = log_probabilities(first)
        p = log_p.exp()
        values = values + (p * ((p + log_offset).log() - log_p)).sum(dim=1)
    return values / first.shape[1] if over_classes == "mean" else values


def function_between(
    function: Function, target: Tensor, guide: Tensor, over_classes: OverClasses = "mean", log_offset: float = 0.0
) -> Tensor:
    """Distance of the target's logits from the guide's: (N,), or a scalar for the gap, which is one of batch means.

    - kl: `KL(p_target || p_guide)`; reverse_kl: `KL(p_guide || p_target)`
    - gap: `|mean KL(p_target || p_guide) - mean KL(p_guide || p_target)|`, means over the batch
    - js: `(KL(p_target || m) + KL(p_guide || m)) / 2` with `m = (p_target + p_guide) / 2`
    - mse: mean over the classes of the squared difference of the logits, whatever `over_classes` says
    """
    between = partial(divergence, over_classes=over_classes, log_offset=log_offset)
    match function:
        case "kl":
            return between(target, guide)
        case "reverse_kl":
            return between(guide, target)
        case "gap":
            return (between(target, guide).mean() - between(guide, target).mean()).abs()
        case "js":
            # log m up to a constant, which the softmax takes away again.
            middle = torch.logaddexp(log_probabilities(target), log_probabilities(guide))
            return (between(target, middle) + between(guide, middle)) / 2
        case "mse":
            return squared_error(target, guide)


class SideBySide(nn.Module):
    """Two networks' logits next to each other, N x 2 K, so that one ascent can climb on both."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        """The first network's logits, then the second's."""
        return torch.cat((self.first(images), self.second(images)), dim=1)


class D2R(Method):
    """D2R (Liu 2025): a guide that learns beside the network, from clean images, and shapes its outputs.

    `min CE(g(x), y) + mse_weight MSE(f(x'), g(x)) + clean_weight C(f(x), g(x)) + adversarial_weight A(f(x'), g(x))`
    over the trained network f and the guide g in one optimiser; every term but the first has gradients into both.
    Clean-distribution term: `C = |KL(p_f(x) || p_g(x)) - KL(p_g(x) || p_f(x))|`, of batch means;
    adversarial-distribution term: `A = KL(p_f(x') || p_g(x))`; either can be any of kl, reverse_kl, gap, js and mse.
    Collaborative adversarial generation (CAG): `x' = argmax KL(p_g(x) || p_f(x'))`: the guide gives the target, f
    the gradient. f predicts, and f is the model that a run saves.

    Source: Liu et al., D2R: dual regularization loss with collaborative adversarial generation for model robustness,
    arXiv 2506.07056, 2025, and its code. Published: weights 1, 20, 30; start x + 0.001 N(0, 1), 10 steps of 0.007
    in the l-inf ball of 0.031; SGD, lr 0.1 (0.02 in epoch 1), weight decay 2e-4, x0.1 at epochs 76, 91 and 101.

    When to use it: where a guide network can be afforded and clean accuracy must not fall far; the guide may be larger
    than the network that is deployed.

    Deviations: the code's divergences are means over the classes too, so that a weight is K times lighter than on
    the usual sum: `over_classes`. The code adds 1e-5 to the probability inside the log of the first argument, which
    raises each such mean by 0 to 1e-5: `log_offset`; the default is 0, from a log-softmax. The guide's clean output
    is computed once for the attack instead of in every inner step (the same figures); the default step size follows
    eps (2.5 eps / steps). The code has one function for each term and the target's gradient only. Without CAG the
    attack is TRADES', the usual one that needs neither guide nor label.

    Cost: 12 forward and 12 backward passes of f and 2 and 1 of g a step; standard training has 1 and 1.

    Args:
        guide: which network guides, and what it starts from; default the trained one's architecture, fresh.
        mse_weight: weight of the squared error between f's adversarial and g's clean logits, at least 0.
        clean: function of f's and g's outputs on clean images: kl, reverse_kl, gap, js or mse.
        clean_weight: its weight, at least 0.
        adversarial: function of f's outputs on adversarial and g's on clean images: kl, reverse_kl, gap, js or mse.
        adversarial_weight: its weight, at least 0.
        over_classes: mean or sum over the classes of a divergence; the published weights belong to the mean.
        log_offset: added inside the log of a divergence's first argument, at least 0; the published code has 1e-5.
        collaborative: CAG; false: the attack asks f alone, `x' = argmax KL(p_f(x) || p_f(x'))`, with f's gradient.
        gradient: whose gradient drives the attack: the trained network's (target), the guide's, or a mixture.
        guide_share: the guide's share of the mixture's objective, 0 to 1; the trained network has the rest.
        save_guide: keep the guide too, as guide.safetensors beside model.safetensors.
        attack: the inner maximum, an ascent on the KL from the guide's clean output.
    """

    def __init__(
        self,
        guide: Guide = Guide(),
        mse_weight: float = 1.0,
        clean: Function = "gap",
        clean_weight: float = 20.0,
        adversarial: Function = "kl",
        adversarial_weight: float = 30.0,
        over_classes: OverClasses = "mean",
        log_offset: float = 0.0,
        collaborative: bool = True,
        gradient: Gradient = "target",
        guide_share: float = 0.5,
        save_guide: bool = False,
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__()
        self.guide = guide
        self.mse_weight = mse_weight
        self.clean: Function = clean
        self.clean_weight = clean_weight
        self.adversarial: Function = adversarial
        self.adversarial_weight = adversarial_weight
        self.over_classes: OverClasses = over_classes
        self.log_offset = log_offset
        self.collaborative = collaborative
        self.gradient: Gradient = gradient
        self.guide_share = guide_share
        self.save_guide = save_guide
        self.attack = of_kind("method.attack", attack, GradientAttack)
        self.guide_network: nn.Module | None = None
        for name in ("mse_weight", "clean_weight", "adversarial_weight", "log_offset"):
            check_number(f"method.{name}", getattr(self, name), least=0)
        for name, kind in (
            ("clean", Function),
            ("adversarial", Function),
            ("over_classes", OverClasses),
            ("gradient", Gradient),
        ):
            check_choice(f"method.{name}", getattr(self, name), kind)
        check_number("method.guide_share", guide_share, "a share", least=0, most=1)
        if not collaborative and gradient != "target":
            raise InputError(
                f"method.gradient: expected target where collaborative is false, got {gradient!r}: the guide takes no "
                "part in the attack then"
            )

    def prepare(self, model: nn.Module) -> nn.Module:
        """Build the guide; the trained network stays as it is."""
        self.guide_network = self.guide.build(model)
        return model

    def auxiliary_networks(self) -> dict[str, nn.Module]:
        """The guide, where it is to be kept."""
        return self.guides() if self.save_guide else {}

    def guides(self) -> dict[str, nn.Module]:
        """The guide."""
        return {"guide": self._guide()}

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the guide's clean output, or without CAG from f's own, finds."""
        guide, share = self._guide(), self.guide_share
        distance = kl_from_clean(guide if self.collaborative else model, batch.images, self.attack)

        def mixed(logits: Tensor) -> Tensor:
            target_logits, guide_logits = logits.chunk(2, dim=1)
            return (1 - share) * distance(target_logits) + share * distance(guide_logits)

        match self.gradient:
            case "target":
                climbed, objective = model, distance
            case "guide":
                climbed, objective = guide, distance
            case "mixture":
                climbed, objective = SideBySide(model, guide), mixed
        return Perturbed(
            self.attack.maximise(climbed, objective, batch.images, self.threat, self.generator, vanishing=True)
        )

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The guide's cross-entropy, and how far the trained network is from it on adversarial and clean images."""
        adversarial, clean = passes(model, perturbed.images, batch.images)
        guide = self._guide()(batch.images)
        between = partial(function_between, over_classes=self.over_classes, log_offset=self.log_offset)
        return {
            "guide_ce": Term(cross_entropy(guide, batch.target)),
            "logit_mse": Term(squared_error(adversarial, guide), self.mse_weight),
            "clean": Term(between(self.clean, clean, guide), self.clean_weight),
            "adversarial": Term(between(self.adversarial, adversarial, guide), self.adversarial_weight),
        }

    def _guide(self) -> nn.Module:
        if self.guide_network is None:
            raise InputError("D2R has no guide yet; build it with model = method.prepare(model)")
        return self.guide_network
