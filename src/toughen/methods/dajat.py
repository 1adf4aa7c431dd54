"""DAJAT, diverse augmentation based joint adversarial training."""

import math

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl, log_probabilities
from toughen.methods.inner import inner_maximum
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.methods.trades import trades_terms
from toughen.models.passes import passes
from toughen.models.split_batchnorm import Branch, branch, merge_batch_norms, split_batch_norms
from toughen.numbers import check_number

KEPT: Branch = "adversarial"
"""The branch of the images as the run augments them, which is the one that predicts."""
FURTHER: Branch = "clean"
"""The branch of the further views."""


def distance_between_views(logits: list[Tensor]) -> Tensor:
    """`mean_v KL(p_v || m)` of each image, (N,), with `m = mean_v p_v`: how far apart V outputs are, at most log V."""
    logs = torch.stack([log_probabilities(each) for each in logits])
    mixture = logs.logsumexp(dim=0) - math.log(len(logits))
    return (logs.exp() * (logs - mixture)).sum(dim=2).mean(dim=0)


class DAJAT(Method):
    """DAJAT (Addepalli 2022): TRADES on several views of each image, strong augmentations with their own BatchNorm.

    `min mean_v (CE(f_v(x_v), y) + beta KL(p_v(x_v) || p_v(x'_v))) + js JS(p_0(x_0), p_1(x_1), ...)` with
    `x'_v = argmax KL(p_v(x_v) || p_v(x'_v))`. x_0 is the image as the run augments it, the others are `views` further
    ones by AutoAugment's policy for CIFAR-10 and the same crops and mirror images. All views share the weights but
    BatchNorm's: one for x_0, which predicts, and one for the others. JS is the mean KL of the clean outputs from their
    mean. With `views` 0 it is ACAT: TRADES with few attack steps and a growing ball.

    AWP moves the weights up TRADES' loss of x_0 alone.

    Source: Addepalli et al., Efficient and Effective Augmentation Strategy for Adversarial Training, NeurIPS 2022, and
    its code. Published for CIFAR-10, ResNet-18: beta 11, views 2, js 2, start x + 0.001 N(0, 1), eps that grows
    linearly to 8/255 over the run, AWP (gamma 0.005, from epoch 10), SGD with learning rate 0.2 (cosine) and weight
    decay 5e-4, batch 128, 200 epochs, averaged weights (0.9996 a step) from epoch 150: 85.7 / 52.5 per cent
    clean / AutoAttack.

    When to use it: where a network overfits its training images and three times the cost of a short TRADES is at hand.

    Deviations: the code means to take 2 to 5 attack steps by the epoch, but its conditions all hold at once: it takes 5
    of eps / 2 in every epoch, which are the defaults here. The policy is torchvision's, the code has its own. It clamps
    m at 1e-7, here it comes from log-softmax. The clean output is computed once for the attack.

    Cost: 24 forward and 21 backward passes a step; standard training has 1 and 1.

    Args:
        beta: weight of the KL terms, at least 0.
        views: further views of each image, at least 0; with CutMix and growing images there are none.
        js: weight of the Jensen-Shannon term, at least 0.
        split_bn: give the further views their own BatchNorm; false lets all share one.
        attack: the inner maximum, an ascent on the KL term.
    """

    def __init__(
        self,
        beta: float = 11.0,
        views: int = 2,
        js: float = 2.0,
        split_bn: bool = True,
        attack: GradientAttack = GradientAttack(steps=5, start="normal"),
    ) -> None:
        super().__init__()
        for name, weight in (("beta", beta), ("js", js)):
            check_number(f"method.{name}", weight, "a weight", least=0)
        check_number("method.views", views, least=0, whole=True)
        self.beta = beta
        self.views = views
        self.js = js
        self.split_bn = split_bn
        self.attack = of_kind("method.attack", attack, GradientAttack)

    @property
    def attacks_outputs(self) -> bool:
        """Return False: attacks go through the branches of the network itself."""
        return False

    def prepare(self, model: nn.Module) -> nn.Module:
        """The network with split BatchNorms, where there are further views."""
        return split_batch_norms(model) if self.split_bn and self.views else model

    def inference_model(self, model: nn.Module) -> nn.Module:
        """The network of the images as the run augments them."""
        return merge_batch_norms(model, KEPT)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the KL from the clean output finds, for every view in its branch."""
        found = []
        for name, images in self._views(batch):
            with branch(model, name):
                view = Batch(images, batch.labels)
                found.append(inner_maximum(model, view, "kl", self.attack, self.threat, self.generator))
        return Perturbed(found[0], views=tuple(found[1:]))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Cross-entropy and KL, averaged over the views, and how far the views' outputs are apart."""
        views = self._views(batch)
        # An epoch without an attack has the clean images in the adversarial ones' place.
        adversarial = [perturbed.images, *(perturbed.views or (images for _, images in views[1:]))]
        pairs = [(images, moved) for (_, images), moved in zip(views, adversarial, strict=True)]
        names = [name for name, _ in views for _ in range(2)]
        outputs = passes(model, *(each for pair in pairs for each in pair), branches=names)
        clean, attacked = outputs[::2], outputs[1::2]
        robust = [kl(each, moved) for each, moved in zip(clean, attacked, strict=True)]
        return {
            "natural": Term(torch.stack([cross_entropy(each, batch.target) for each in clean]).mean(dim=0)),
            "robust_kl": Term(torch.stack(robust).mean(dim=0), self.beta),
            "js": Term(distance_between_views(clean), self.js),
        }

    def awp_terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """TRADES' loss of the images as the run augments them."""
        adversarial, clean = passes(model, perturbed.images, batch.images, branches=[KEPT, KEPT])
        return trades_terms(clean, adversarial, batch.target, self.beta)

    def _views(self, batch: Batch) -> list[tuple[Branch, Tensor]]:
        """Every view of the batch with its branch, the images themselves first."""
        if len(batch.views) < self.views:
            raise InputError(
                f"DAJAT: expected {self.views} further views of each image, got {len(batch.views)}; give "
                "Batch(images, labels, views=(...)) of as many augmented versions of the images, or take views=0"
            )
        return [(KEPT, batch.images), *((FURTHER, view) for view in batch.views[: self.views])]
