"""The smallest perturbation that breaks an image."""

import torch
from torch import Tensor, nn

from toughen.attacks.fab import FAB
from toughen.models.inference import frozen
from toughen.threat import ThreatModel

_HALVINGS = 12


def smallest_perturbations(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    generator: torch.Generator,
    *,
    attack: FAB = FAB(targets=3, steps=20),
    known: Tensor | None = None,
) -> Tensor:
    """The size, in the threat model's norm, of the smallest perturbation that is found for each image, (N,).

    FAB (Croce & Hein 2020) walks along the boundary to each of the likeliest other classes; the nearer of what it finds
    and what is known is then drawn towards the image by halving the line between, as long as it is misclassified. An
    upper bound: 0 for an image that is misclassified as it is, infinite for one for which nothing is found.

    Args:
        model: images in [0, 1] to logits.
        images: N x C x H x W.
        labels: int64, (N,).
        threat: whose norm counts; its radius does not.
        generator: on the images' device.
        attack: FAB, its targets and steps.
        known: what another attack made of the images.
    """
    size = torch.full(labels.shape, torch.inf, device=images.device)
    with frozen(model, images.device) as judged, torch.no_grad():

        def wrong(shown: Tensor) -> Tensor:
            return judged(shown).argmax(1) != labels

        for found in (attack.nearest(judged, images, labels, threat, generator), *([] if known is None else [known])):
            step, broken = found - images, wrong(found)
            low, high = torch.zeros_like(size), torch.ones_like(size)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                breaks = wrong(images + middle.view(-1, *[1] * (step.ndim - 1)) * step)
                low, high = torch.where(breaks, low, middle), torch.where(breaks, middle, high)
            size = torch.where(broken, torch.minimum(size, high * threat.norm_of(step)), size)
        return torch.where(wrong(images), torch.zeros_like(size), size)
