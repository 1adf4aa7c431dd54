"""Gradients of two losses with respect to the images, as the attacks will see them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toughen.errors import InputError
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
        once: whether a pass gives one gradient only, as a compiled network's.
    """

    images: Tensor
    labels: Tensor
    margins: Tensor
    ce: Tensor
    margin: Tensor
    obstacle: str = ""
    once: bool = False

    @property
    def judged(self) -> Tensor:
        """Images whose margin is a number, bool (M,): there the gradient ought to be one, too."""
        return self.margins.isfinite()


def slopes(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> Slopes:
    """Gradients of a frozen model: of each batch one pass forward, two back, or two of each where it needs them.

    Raises:
        InputError: the backward pass fails. That is no evidence of a model without a gradient: what stands in its way
            may be a matter of how torch is asked.
    """
    pairs = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    once = False
    try:
        found = [_of_batch(model, x, y, twice=True) for x, y in pairs]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        once = True
        try:
            found = [_of_batch(model, x, y, twice=False) for x, y in pairs]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(
                f"the gradient of the model cannot be computed, and no attack would say anything of it: "
                f"{str(error).partition(chr(10))[0]}. Where it uses torch.utils.checkpoint, give use_reentrant=False; "
                "where it is compiled, evaluate it as it was before; where it is meant to have no gradient, compute "
                "its logits under torch.no_grad(), and it is attacked without one"
            ) from error
    if any(part is None for part in found):
        none = torch.zeros_like(images)
        reason = "no gradient leads from its logits to the images"
        return Slopes(images, labels, none.flatten(1).sum(1), none, none, reason)
    margins, ce, steep = (torch.cat(parts) for parts in zip(*(part for part in found if part), strict=True))
    return Slopes(images, labels, margins, ce, steep, once=once)


def _of_batch(model: nn.Module, images: Tensor, labels: Tensor, twice: bool) -> tuple[Tensor, Tensor, Tensor] | None:
    """Margins, the gradient of the cross-entropy and that of the margin; None where the images do not reach them.

    Args:
        model: frozen.
        images: of one batch.
        labels: int64.
        twice: both gradients of one pass.
    """
    x = images.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model(x)
        if not logits.requires_grad:
            return None
        (ce,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), x, retain_graph=twice, allow_unused=True)
        margins = margin(logits if twice else model(x), labels)
        (steep,) = torch.autograd.grad(margins.sum(), x, allow_unused=True)
    return None if ce is None or steep is None else (margins.detach(), ce, steep)
