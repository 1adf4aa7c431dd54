"""Gradients of two losses with respect to the images, as the attacks will see them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toughen.losses import cross_entropy, margin


@dataclass(frozen=True)
class Slopes:
    """Gradients for a few images, or why there are none.

    Attributes:
        images: M x C x H x W.
        labels: int64, (M,).
        margins: the margin loss, (M,).
        ce: gradient of the cross-entropy, like the images.
        margin: gradient of the margin loss.
        obstacle: why the model cannot be differentiated; empty where it can. The gradients are then zero.
    """

    images: Tensor
    labels: Tensor
    margins: Tensor
    ce: Tensor
    margin: Tensor
    obstacle: str = ""

    @property
    def judged(self) -> Tensor:
        """Images whose margin is a number, bool (M,): there the gradient ought to be one, too."""
        return self.margins.isfinite()


def slopes(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> Slopes:
    """Gradients of a frozen model: of each batch one pass forward, two back."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    obstacle = ""
    try:
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            found.append(_of_batch(model, x.detach().clone().requires_grad_(True), y))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        obstacle = str(error).partition("\n")[0]
    if obstacle:
        none = torch.zeros_like(images)
        return Slopes(images, labels, none.flatten(1).sum(1), none, none, obstacle)
    margins, ce, steep = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Slopes(images, labels, margins, ce, steep)


def _of_batch(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Margins, the gradient of the cross-entropy and that of the margin."""
    with torch.enable_grad():
        logits = model(x)
        if not logits.requires_grad:
            raise RuntimeError("no gradient leads from its logits to the images")
        margins = margin(logits, labels)
        (ce,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), x, retain_graph=True)
        (steep,) = torch.autograd.grad(margins.sum(), x)
    return margins.detach(), ce, steep
