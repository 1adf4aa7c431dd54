"""How many images an evaluation can attack together."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.errors import RunError
from toughen.hardware.memory import Trials, free_memory, largest
from toughen.hardware.speed import wait_for

_COPIES = 50
"""Of the batch that an attack holds beside the network's own memory; FAB holds the most."""


def largest_batch(model: nn.Module, image: Tensor, most: int, memory: float | None = None, start: int = 250) -> int:
    """The largest batch whose attack fits, to within a sixteenth: passes and gradients are tried, not estimated.

    Args:
        model: images in [0, 1] to logits; frozen.
        image: one, 1 x C x H x W, on the device of the model.
        most: no size above.
        memory: bytes that may be in use; default nine tenths of what is free.
        start: the first size that is tried.

    Raises:
        RunError: not even 2 images fit.
    """
    device = image.device

    def attempt(size: int) -> float:
        images = image.expand(size, -1, -1, -1).contiguous().requires_grad_()
        held = [images.detach().clone() for _ in range(_COPIES)]
        logits = model(images)
        loss = F.cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
        if loss.requires_grad:  # else the model has no gradient, which the preflight will say
            torch.autograd.grad(loss, images, allow_unused=True)
        wait_for(device)
        return float(len(held[0]))

    limit = free_memory(device) if memory is None else memory
    found = 1 if most == 1 else largest(Trials(attempt, device, limit).fits, start, most)
    if found is None:
        raise RunError(f"not even 2 images fit into the memory of {device} under attack; take a smaller model")
    return found
