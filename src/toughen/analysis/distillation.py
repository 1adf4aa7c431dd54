"""What does the network take from the one that it learns from or beside?"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from toughen.analysis.explanation import (
    Explained,
    Explanation,
    Figure,
    Insight,
    Picture,
    interval_text,
    mean_of,
    resampled,
    share_of,
)
from toughen.analysis.features import features_of
from toughen.analysis.measures.conflict import cosine
from toughen.analysis.measures.features import linear_cka
from toughen.analysis.measures.outputs import total_variation
from toughen.analysis.measures.surface import input_gradient
from toughen.losses import cross_entropy, kl
from toughen.models.inference import frozen

BATCHES = 8
"""Parts of the images that the cosine of the weights' gradients is taken over."""


class Distillation(Explanation):
    """Agreement of a network with its guide, the likeness of their features, and the conflict of their gradients.

    Two conflicts: whether the guide's clean output and the label pull the weights apart on adversarial images, and
    whether both networks look at the same pixels, by the gradients of their losses at the image. AR-AT's paper reads
    defences by distillation (LBGAT, HAT) as its own stop-gradient: the guide, on clean images, is not pulled towards
    the adversarial ones.
    """

    title = "Distillation"
    source = (
        "Waseda et al. 2025 (AR-AT); Cui et al. 2021 (LBGAT); Rade & Moosavi-Dezfooli 2022 (HAT); Liu et al. 2025 (D2R)"
    )

    def passes(self, images: int) -> float:
        """Four of features and outputs, and three with gradients."""
        return 13.0 * images

    def explain(self, explained: Explained) -> Insight | None:
        """Agreement with each guide; None for a method without one."""
        if explained.training is None or not explained.training.guide:
            return None
        name, guide = next(iter(explained.training.guide.items()))
        clean, adversarial = explained.logits()
        own = features_of(explained)
        with frozen(guide, explained.images.device) as still:
            beside = Explained(**{**vars(explained), "model": still})
            told, told_adversarial = beside.logits()
            theirs = features_of(beside)
            alike = torch.cat(
                [_input_cosine(explained.model, still, x, labels) for x, _, labels in explained.batches()]
            )
        labels = explained.labels.cpu()
        pulls = _pulls(explained, told)
        figures = {
            "guide_clean": share_of(told.argmax(1) == labels, f"{name} right, clean", "high"),
            "guide_adversarial": share_of(told_adversarial.argmax(1) == labels, f"{name} right under the attack"),
            "agreement_clean": share_of(told.argmax(1) == clean.argmax(1), "same class on clean images"),
            "agreement_adversarial": share_of(
                told.argmax(1) == adversarial.argmax(1), f"adversarial images on which it says what {name} says clean"
            ),
            "tv_clean": mean_of(total_variation(told, clean), "total variation of clean outputs"),
            "kl_guide_adversarial": mean_of(kl(told, adversarial), f"KL({name} clean || adversarial)"),
            "cosine_weights": mean_of(
                pulls, f"cosine of the weights' gradients, CE(label) and KL({name} clean), adversarial", over="batches"
            ),
            "conflicting": share_of(
                [each < 0 for each in pulls], f"batches on which label and {name} pull apart", "low", over="batches"
            ),
            "cosine_inputs": mean_of(alike, f"cosine of the losses' gradients at the image, network and {name}"),
        }
        if own is not None and theirs is not None:
            figures |= _likeness(name, theirs[0], own, explained.generator())
        sentence = (
            f"On clean images the network says what {name} says for {interval_text(figures['agreement_clean'])} of "
            f"them, on adversarial ones for {interval_text(figures['agreement_adversarial'])}; label and {name} pull "
            f"the weights with cosine {interval_text(figures['cosine_weights'])}."
        )
        shown = {"network and guide": alike.tolist()}
        axes = ("cosine of the gradients at an image", "images")
        sees = f"Right of 0 the network and {name} look at an image's pixels alike."
        arrays = {
            "agrees_clean": (told.argmax(1) == clean.argmax(1)).tolist(),
            "agrees_adversarial": (told.argmax(1) == adversarial.argmax(1)).tolist(),
            "cosine_inputs": alike.tolist(),
        }
        picture = Picture("histogram", "Gradients of network and guide", sees, shown, axes)
        return Insight(sentence, figures, [picture], arrays)


def _input_cosine(network: nn.Module, guide: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cosine of the gradients of the cross-entropies at each image, (N,); not a number where one is zero."""
    first, second = (
        input_gradient(partial(_losses, model, labels), images)[1].flatten(1).double().cpu()
        for model in (network, guide)
    )
    sizes = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(sizes > 0, (first * second).sum(1) / sizes, math.nan)


def _losses(model: nn.Module, labels: Tensor, images: Tensor) -> Tensor:
    return cross_entropy(model(images), labels)


def _pulls(explained: Explained, told: Tensor) -> list[float]:
    """Over batches, the cosine of the weights' gradients of `CE(f(x'), y)` and of `KL(g(x) || f(x'))`."""
    weights = {name: each.detach().requires_grad_() for name, each in explained.model.named_parameters()}
    size = max(1, -(-len(explained.labels) // BATCHES))
    found = []
    for images, labels, guide in zip(
        explained.perturbed.split(size), explained.labels.split(size), told.split(size), strict=True
    ):
        with torch.enable_grad():
            logits = functional_call(explained.model, weights, (images,))
            losses = (cross_entropy(logits, labels).mean(), kl(guide.to(logits.device), logits).mean())
            label, follow = (
                torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
                for loss in losses
            )
        found.append(cosine(label, follow))
    return found


def _likeness(name: str, theirs: Tensor, own: tuple[Tensor, Tensor], generator: torch.Generator) -> dict[str, Figure]:
    """CKA of the network's clean and adversarial features to the guide's clean ones, with intervals over images."""
    says = {"clean": "CKA of clean features", "adversarial": f"CKA, adversarial features to {name}'s clean ones"}
    return {
        f"cka_{side}": resampled(partial(_cka, theirs, each), len(each), says[side], generator)
        for side, each in zip(says, own, strict=True)
    }


def _cka(first: Tensor, second: Tensor, places: Tensor) -> float:
    return linear_cka(first[places], second[places])
