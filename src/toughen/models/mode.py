"""Using a model in eval mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

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
