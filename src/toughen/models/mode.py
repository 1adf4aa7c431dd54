"""Using a model for a while and leaving it as it was."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

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
def buffers_kept(model: nn.Module, but: Collection[str] = ()) -> Iterator[None]:
    """Give every buffer (BatchNorm's statistics among them) its values back at the end, also after an error.

    Args:
        model: a network, or a method.
        but: names of buffers that nothing changes inside, and that are too large to be copied.
    """
    values = [(buffer, buffer.clone()) for name, buffer in model.named_buffers() if name not in but]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)


def has_eval_mode_alone(model: nn.Module) -> bool:
    """Whether a part of it is a program of `torch.export`, which computes what the network did in eval mode then."""
    return any(
        isinstance(target, torch._ops.OpOverload)  # where a network that is only traced calls functions and modules
        for module in model.modules()
        if isinstance(module, torch.fx.GraphModule)
        for target in (node.target for node in module.graph.nodes)
    )


Mode = Literal["eval", "train"]


@contextmanager
def attacked(model: nn.Module, mode: Mode = "eval") -> Iterator[None]:
    """Hold `model` still while it is attacked: parameters need no gradient and, in eval mode, BatchNorm is fixed.

    Every module's own train/eval flag and every parameter's `requires_grad` come back at the end, also after an
    error. `mode="train"` leaves the flags as they are, so BatchNorm uses and updates its statistics.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with evaluating(model) if mode == "eval" else flags_kept(model):
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)
