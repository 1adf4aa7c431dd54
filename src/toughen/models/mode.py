"""Using a model for a while and leaving it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def flags_kept(model: nn.Module) -> Iterator[None]:
    """Give every module its own train/eval flag back at the end, also after an error.

    `model.train()` would not do: a user may have frozen single layers in eval mode.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, the flags as they were afterwards."""
    with flags_kept(model):
        model.eval()
        yield


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Give every buffer (BatchNorm's statistics among them) its values back at the end, also after an error."""
    values = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
