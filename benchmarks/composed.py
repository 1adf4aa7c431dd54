"""What `one_better.py` composes: one method of the terms of several, each of which can be left out; a cheap network."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.losses import cross_entropy, kl, squared_error
from toughen.methods.ar_at import Predictor, invariance
from toughen.methods.guide import Guide
from toughen.methods.inner import Inner, inner_maximum
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models import SmallCNN
from toughen.models.features import captured, feature_widths, last_stage
from toughen.models.passes import passes
from toughen.models.split_batchnorm import merge_batch_norms, split_batch_norms


class PooledCNN(SmallCNN):
    """SmallCNN behind the mean of 2 x 2 pixels, at a quarter of the FLOPs; attacks see the images as they are."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N x num_classes."""
        return super().forward(F.avg_pool2d(images, 2))


class Composed(Method):
    """TRADES' skeleton with terms of other methods; with the defaults it is TRADES.

    `min CE(f(x), y) + w (alpha KL(p(x) || p(x')) + beta KL(p(x') || p(x)))
    + features D(h(z(x')), stopgrad z(x)) + guide (CE(g(x), y) + MSE(f(x'), g(x)))`,
    with `x' = argmax KL(p(x) || p(x'))` or `argmax CE(f(x'), y)`.

    Args:
        alpha: weight of TRADES' KL.
        beta: weight of the KL the other way (RegMix).
        weight: w, 1 or ARoW's `1 - p(x')_y`.
        features: weight of AR-AT's representation term; with it, clean and adversarial images have their own BatchNorm
            statistics, and half of the cross-entropy is that of the adversarial images.
        guide: weight of D2R's and LBGAT's guide, a second network that learns beside the trained one on clean images.
        inner: what the attack raises, kl or ce.
        attack: the inner maximum.
    """

    def __init__(
        self,
        alpha: float = 6.0,
        beta: float = 0.0,
        weight: Literal["none", "arow"] = "none",
        features: float = 0.0,
        guide: float = 0.0,
        inner: Inner = "kl",
        attack: GradientAttack = GradientAttack(steps=10, start="normal"),
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.weight = alpha, beta, weight
        self.features, self.guide = features, guide
        self.inner: Inner = inner
        self.attack = attack
        self.shape: tuple[int, int, int] | None = None
        self.names: list[str] = []
        self.predictors = nn.ModuleList()
        self.guide_network: nn.Module | None = None

    def allocate_memory(self, images: int, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.guide:
            self.guide_network = Guide().build(model)
        if not self.features:
            return model
        self.names = last_stage(model)
        self.predictors = nn.ModuleList(Predictor(width) for width in feature_widths(model, self.names, self.shape))
        return split_batch_norms(model)

    def inference_model(self, model: nn.Module) -> nn.Module:
        return merge_batch_norms(model)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(inner_maximum(model, batch, self.inner, self.attack, self.threat, self.generator))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        if self.features:
            clean, adversarial, terms = self._branches(model, batch, perturbed)
        else:
            clean, adversarial = passes(model, batch.images, perturbed.images)
            terms = {"clean_ce": Term(cross_entropy(clean, batch.target))}
        if self.guide_network is not None:
            guide = self.guide_network(batch.images)
            terms["guide_ce"] = Term(cross_entropy(guide, batch.target), self.guide)
            terms["guide_mse"] = Term(squared_error(adversarial, guide), self.guide)
        return terms | self._between(clean, adversarial, batch.labels)

    def _branches(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> tuple[Tensor, Tensor, Terms]:
        """The logits of the two branches, and AR-AT's terms."""

        def outputs(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            with captured(model, self.names) as found:
                logits = model(images)
            return logits, found

        (clean, targets), (adversarial, found) = passes(
            model, batch.images, perturbed.images, branches=("clean", "adversarial"), ask=outputs
        )
        pairs = zip(self.names, self.predictors, strict=True)
        distances = [invariance(found[name], targets[name], predictor) for name, predictor in pairs]
        return (
            clean,
            adversarial,
            {
                "clean_ce": Term(cross_entropy(clean, batch.target), 0.5),
                "adversarial_ce": Term(cross_entropy(adversarial, batch.target), 0.5),
                "features": Term(torch.stack(distances).mean(dim=0), self.features),
            },
        )

    def _between(self, clean: Tensor, adversarial: Tensor, labels: Tensor) -> Terms:
        """What ties the two outputs to each other."""
        w: Tensor | float = 1.0
        if self.weight == "arow":
            w = 1 - (-cross_entropy(adversarial, labels)).exp()
        terms = {"kl": Term(w * kl(clean, adversarial), self.alpha)}
        if self.beta:
            terms["kl_back"] = Term(w * kl(adversarial, clean), self.beta)
        return terms
