"""Several batches in one pass, each with BatchNorm statistics of its own.

What a loss needs of a network in train mode (the clean images, the adversarial ones) is asked for batch by batch where
that is plain. In one pass convolutions are fuller, weights are cast and their gradients summed once; BatchNorm, the
only layer that mixes images, takes every batch by itself, and its running statistics move batch by batch, in order.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from toughen.models.mode import buffers_kept, flags_kept
from toughen.models.split_batchnorm import Branch, SplitBatchNorm, branch, is_batch_norm
from toughen.random_state import own_random_state

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_JOINED: ContextVar[nn.Module | None] = ContextVar("network whose passes are joined", default=None)
_TOGETHER: ContextVar[tuple[Tensor, Sequence[Tensor]] | None] = ContextVar("a pass's images, its batches", default=None)


def passes(
    model: nn.Module,
    *batches: Tensor,
    branches: Sequence[Branch] = (),
    ask: Callable[[Tensor], Any] | None = None,
) -> list[Any]:
    """What a network gives for each batch, as if asked for one after the other; in one pass inside `joined`.

    Args:
        model: images to logits.
        batches: images, N x C x H x W each.
        branches: of split BatchNorms, for each batch; default the one in use.
        ask: what to ask for instead of `model(images)`: a tensor of a row for each image, or a dict or tuple of such.
    """
    ask = model if ask is None else ask
    chosen: Sequence[Branch | None] = branches or [None] * len(batches)
    if _JOINED.get() is not model or not model.training or len(batches) < 2:
        return [_in_branch(ask, model, images, name) for images, name in zip(batches, chosen, strict=True)]
    sizes = [len(images) for images in batches]
    images = torch.cat(batches)
    together = _TOGETHER.set((images, batches))
    try:
        with _apart(model, sizes, chosen):
            return _parts(ask(images), sizes)
    finally:
        _TOGETHER.reset(together)


def rows_of(batch: Tensor, images: Tensor) -> slice | None:
    """Where a batch lies in the images of the pass that is under way; None where it is not one of its batches."""
    if images is batch:
        return slice(None)
    together, first = _TOGETHER.get(), 0
    for each in together[1] if together is not None and together[0] is images else ():
        if each is batch:
            return slice(first, first + len(each))
        first += len(each)
    return None


@contextmanager
def joined(model: nn.Module | None) -> Iterator[None]:
    """Make one pass of this network's `passes` inside, which `may_join` allows; None changes nothing."""
    former = _JOINED.set(model) if model is not None else None
    try:
        yield
    finally:
        if former is not None:
            _JOINED.reset(former)


def may_join(model: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether joined passes give what separate ones give: logits, gradients and statistics, tried on a few images.

    Not where layers draw random numbers, or mix images other than by torch's own BatchNorm.

    Args:
        model: in any mode, on the device; left as it is.
        images: a few, N x C x H x W, at least 4.
        dtype: that of the passes to come; compared is in the network's own.
    """
    norms = [layer for layer in model.modules() if is_batch_norm(layer)]
    if len(images) < 4 or any(type(layer) not in _PLAIN or "forward" in vars(layer) for layer in norms):
        return False
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    batches = images.tensor_split(2)
    split = any(isinstance(layer, SplitBatchNorm) for layer in model.modules())
    names: tuple[Branch, ...] = ("clean", "adversarial") if split else ()

    def found(network: nn.Module | None) -> list[Tensor]:
        with own_random_state(), buffers_kept(model), flags_kept(model), torch.enable_grad(), joined(network):
            logits = torch.cat(passes(model.train(), *batches, branches=names)).float()
            factors = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
            gradients = torch.autograd.grad(
                (logits * factors).sum(), weights, allow_unused=True, materialize_grads=True
            )
            statistics = [buffer.detach().double() for buffer in model.buffers()]
            return [logits.detach(), torch.cat([each.flatten() for each in gradients]), *map(torch.clone, statistics)]

    try:
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
            found(model)
        pairs = zip(found(None), found(model), strict=True)
        return all(bool((one - other).norm() <= 1e-3 * one.norm()) for one, other in pairs)
    except Exception:  # a network may do with a batch what two together do not allow
        return False


def _in_branch(ask: Callable[[Tensor], Any], model: nn.Module, images: Tensor, name: Branch | None) -> Any:
    with nullcontext() if name is None else branch(model, name):
        return ask(images)


def _parts(found: Any, sizes: list[int]) -> list[Any]:
    """A tensor's rows batch by batch; of a dict or a tuple, one of each part for every batch."""
    if isinstance(found, Tensor):
        return list(found.split(sizes))
    if isinstance(found, dict):
        columns = [_parts(value, sizes) for value in found.values()]
        return [dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True)]
    return list(zip(*(_parts(value, sizes) for value in found), strict=True))


@contextmanager
def _apart(model: nn.Module, sizes: list[int], branches: Sequence[Branch | None]) -> Iterator[None]:
    """Inside, every BatchNorm takes its input as batches of these sizes, each through the layer of its branch."""
    layers: dict[nn.Module, list[_BatchNorm]] = {}
    inside: set[nn.Module] = set()
    for layer in model.modules():
        if isinstance(layer, SplitBatchNorm):
            norms = [layer.chosen if name is None else layer.get_submodule(name) for name in branches]
            inside |= set(layer.children())
        elif is_batch_norm(layer) and layer not in inside:
            norms = [layer] * len(sizes)
        else:
            continue
        layers[layer] = [cast(_BatchNorm, norm) for norm in norms]
    for layer in layers:
        layer.forward = partial(_by_batches, layers[layer], sizes)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _by_batches(norms: list[_BatchNorm], sizes: list[int], x: Tensor) -> Tensor:
    if not all(_counts(norm) for norm in norms) or min(sizes) * x[0, 0].numel() < 2:
        parts = zip(norms, x.split(sizes), strict=True)
        return torch.cat([type(norm).forward(norm, part) for norm, part in parts])
    for norm in norms:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
    return _Normalised.apply(x, norms, sizes, *[norm.weight for norm in norms], *[norm.bias for norm in norms])


def _counts(norm: _BatchNorm) -> bool:
    """Whether a layer normalises by its batch, and remembers it as torch's do unless told otherwise."""
    return norm.training and norm.affine and norm.momentum is not None and norm.num_batches_tracked is not None


class _Normalised(torch.autograd.Function):
    """BatchNorm of each part of a batch, without a copy of the parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norms: list[_BatchNorm], sizes: list[int], *affine: Tensor) -> Tensor:
        output = torch.empty_like(x)
        saved = []
        for norm, part, place in zip(norms, x.split(sizes), output.split(sizes), strict=True):
            mean, scale = (torch.empty_like(norm.weight) for _ in range(2))
            affine_and_statistics = norm.weight, norm.bias, norm.running_mean, norm.running_var
            momentum = cast(float, norm.momentum)
            torch.native_batch_norm(part, *affine_and_statistics, True, momentum, norm.eps, out=(place, mean, scale))
            saved += [mean, scale]
        ctx.save_for_backward(x, *affine[: len(norms)], *saved)
        ctx.sizes, ctx.eps = sizes, [norm.eps for norm in norms]
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, *rest = ctx.saved_tensors
        sizes, count = ctx.sizes, len(ctx.sizes)
        weights, statistics = rest[:count], rest[count:]
        wanted = [ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:]), any(ctx.needs_input_grad[3:])]
        layout = torch.channels_last if x.ndim == 4 and not x.is_contiguous() else torch.contiguous_format
        gradient = gradient.contiguous(memory_format=layout)
        found = [
            torch.ops.aten.native_batch_norm_backward(
                g, part, weights[i], None, None, statistics[2 * i], statistics[2 * i + 1], True, ctx.eps[i], wanted
            )
            for i, (g, part) in enumerate(zip(gradient.split(sizes), x.split(sizes), strict=True))
        ]
        images, scales, shifts = zip(*found, strict=True)
        return torch.cat(images) if wanted[0] else None, None, None, *scales, *shifts
