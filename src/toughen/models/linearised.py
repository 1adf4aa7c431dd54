"""What changes in a network's logits between images that hardly differ, where bf16 would round it away."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from toughen.models.fold import FoldedReplica


def linearised(model: nn.Module, images: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """The logits f(x), their first-order change `J (x' - x)`, and `v -> v^T J`, with J the Jacobian at x.

    The change is computed by itself (forward-mode differentiation), not as a difference of two outputs, so that it has
    the relative precision of the network's dtype however small it is. That costs two forward passes, v a backward pass.

    Args:
        model: images to logits, with fixed weights.
        images: x, N x C x H x W.
        others: x', near x.
    """
    x = images.detach().clone().requires_grad_()
    with torch.enable_grad(), forward_ad.dual_level(), _without_tangents_of_weights(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # torch's own, when it is first used
        logits, change = forward_ad.unpack_dual(model(forward_ad.make_dual(x, (others - images).detach())))
    if change is None:  # the logits do not depend on the images
        change = torch.zeros_like(logits)
    return logits.detach(), change.detach(), lambda v: torch.autograd.grad(logits, x, v)[0]


def may_linearise(model: nn.Module, images: Tensor) -> bool:
    """Whether torch can differentiate a network forward, which it cannot through every kind of attention, tried."""
    try:
        _, change, pulled_back = linearised(model, images, images.flip(-1))
        return bool(change.isfinite().all()) and bool(pulled_back(change).isfinite().all())
    except Exception:  # torch and the layers of others raise whatever they like where a derivative is missing
        return False


def rounds(model: nn.Module) -> bool:
    """Whether a network is a replica in less than fp32 that `linearised` takes: neither compiled nor asked in parts."""
    return isinstance(model, FoldedReplica) and model.linearises and "forward" not in vars(model)


@contextmanager
def _without_tangents_of_weights(model: nn.Module) -> Iterator[None]:
    """Inside, convolutions know that their weights stand still; torch convolves the images with zeros for that."""
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    ]
    for layer in layers:
        layer.forward = partial(_Convolved.apply, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class _Convolved(torch.autograd.Function):
    """A convolution of fixed weights, differentiable with respect to its input in both directions."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Conv2d, x: Tensor) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        return nn.Conv2d.forward(layer, x)

    @staticmethod
    def jvp(ctx: Any, layer: None, change: Tensor) -> Tensor:
        return ctx.layer._conv_forward(change, ctx.layer.weight, None)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (x,), layer = ctx.saved_tensors, ctx.layer
        place = layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups
        found = torch.ops.aten.convolution_backward(gradient, x, layer.weight, None, *place, [True, False, False])
        return None, found[0]
