"""Passes in less memory: layers that are computed again for the backward pass, and images in parts."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from toughen.models.mode import buffers_kept
from toughen.models.split_batchnorm import branches_kept
from toughen.random_state import own_random_state

Forwards = dict[nn.Module, Callable[..., Any]]
"""Modules with what is called in place of their own forward."""


def in_parts(network: Callable[[Tensor], Tensor], images: Tensor, parts: int) -> Tensor:
    """What a network gives for images, asked in so many parts, each computed again for its gradient.

    The same but for rounding, where an image's output does not depend on the others: in eval mode.

    Args:
        network: images to logits.
        images: N x C x H x W.
        parts: how many, at least 1; never more than there are images.
    """
    if parts == 1 or len(images) < 2:
        return network(images)
    chunks = images.tensor_split(min(parts, len(images)))
    if not torch.is_grad_enabled():
        return torch.cat([network(chunk) for chunk in chunks])
    return torch.cat([checkpoint(network, chunk, use_reentrant=False) for chunk in chunks])


def image_by_image(network: nn.Module, images: Tensor) -> bool:
    """Whether a network in eval mode answers for an image alone as it does in a batch, by a few images."""
    with torch.no_grad(), own_random_state():
        whole, parts = network(images), torch.cat([network(part) for part in images.split(1)])
    return torch.allclose(whole, parts, rtol=1e-3, atol=1e-4, equal_nan=True)


class Sparing:
    """Modules that keep little for the backward pass inside `on()`: gradient checkpointing (Chen et al. 2016).

    Of pieces of about the square root of a network's layers only the input is kept, and the piece is computed again
    when its gradient is due. A batch stays whole, so that BatchNorm sees all of it: outputs, gradients and statistics
    are those of the plain passes bit by bit, where the device computes the same twice. Random numbers, train/eval
    flags, statistics and branches are in the second pass what they were in the first. A piece in which layers are
    watched by hooks runs as it stands.

    Args:
        networks: modules of any architecture; in one whose forward calls its layers itself, without blocks or
            `nn.Sequential`, nothing can be spared.
    """

    def __init__(self, *networks: nn.Module) -> None:
        self.forwards: Forwards = {}
        for network in networks:
            self.forwards |= _forwards(network, max(2, math.ceil(math.sqrt(_layers(network)))))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Send calls of the modules through their pieces inside."""
        changed = [module for module in self.forwards if "forward" not in vars(module)]
        for module in changed:
            module.forward = self.forwards[module]
        try:
            yield
        finally:
            for module in changed:
                del module.forward

    def proved(self, network: nn.Module, images: Tensor) -> bool:
        """Whether a network gives the same logits and gradients inside `on()`, in its present mode.

        Args:
            network: one of those given, or one that holds them; left as it is.
            images: a few.
        """
        weights = [weight for weight in network.parameters() if weight.requires_grad]

        def found() -> list[Tensor]:
            with own_random_state(), buffers_kept(network), torch.enable_grad():
                logits = network(images).float()
                factors = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)).to(logits)
                total = (logits * factors).sum()
                return [
                    logits.detach(),
                    *torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True),
                ]

        plain = found()
        try:
            with self.on():
                spared = found()
        except Exception:  # a network may do with its layers what a second pass cannot
            return False
        return all((one - other).norm() <= 1e-4 * one.norm() for one, other in zip(plain, spared, strict=True))


def _layers(module: nn.Module) -> int:
    """Modules without children in it; 1 for such a module itself."""
    return sum(not list(each.children()) for each in module.modules())


def _forwards(module: nn.Module, most: int) -> Forwards:
    """What to call in place of the forwards of modules inside `module`, in pieces of at most so many layers."""
    if type(module).forward is nn.Sequential.forward and _layers(module) > most:
        groups = _groups(list(module.children()), most)
        alone = [group[0] for group in groups if len(group) == 1]
        found: Forwards = {module: partial(_one_by_one, [_chain(group) for group in groups])}
    else:
        alone, found = list(module.children()), {}
    for child in alone:
        layers = _layers(child)
        if 1 < layers <= most:
            found[child] = partial(_again, child.forward, list(child.modules()))
        elif layers > most:
            found |= _forwards(child, most)
    return found


def _groups(layers: Sequence[nn.Module], most: int) -> list[list[nn.Module]]:
    """Neighbours together, up to so many layers.

    >>> [len(group) for group in _groups([nn.ReLU() for _ in range(7)], 3)]
    [3, 3, 1]
    """
    groups: list[list[nn.Module]] = []
    for layer in layers:
        if groups and sum(map(_layers, groups[-1])) + _layers(layer) <= most:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _chain(group: list[nn.Module]) -> Callable[[Any], Any]:
    if len(group) == 1:
        return group[0]
    modules = [module for layer in group for module in layer.modules()]
    return partial(_again, partial(_one_by_one, group), modules)


def _one_by_one(calls: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    for call in calls:
        x = call(x)
    return x


def _again(run: Callable[..., Any], modules: list[nn.Module], *args: Any, **named: Any) -> Any:
    """What `run` gives; for its gradient it is run again, with the modules as they are now."""
    if not torch.is_grad_enabled() or any(module._forward_hooks or module._forward_pre_hooks for module in modules):
        return run(*args, **named)
    again = _as_now(modules)
    return checkpoint(
        _on_copies, run, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _Anew(again)), **named
    )


class _Anew:
    """A context made anew each time that it is entered: second derivatives run layers again more than once."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self.make, self.entered = make, ExitStack()

    def __enter__(self) -> None:
        self.entered.enter_context(self.make())

    def __exit__(self, *failure: Any) -> None:
        self.entered.close()


def _on_copies(run: Callable[..., Any], *args: Any, **named: Any) -> Any:
    # What a layer changes in place must not be what is kept for the second pass.
    return run(*(each.clone() if isinstance(each, Tensor) else each for each in args), **named)


def _as_now(modules: list[nn.Module]) -> Callable[[], Any]:
    """A context in which the modules are once more as they are now, and all that happens to them inside is undone."""
    flags = [(module, module.training) for module in modules]
    weights = [weight for module in modules for weight in module._parameters.values() if weight is not None]
    required = [(weight, weight.requires_grad) for weight in weights]
    buffers = [
        (module, name, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    branches = branches_kept()

    @contextmanager
    def again() -> Iterator[None]:
        later = [(module, module.training) for module in modules]
        changed = [(weight, weight.requires_grad) for weight in weights]
        # Exchanged, not overwritten: other passes may still need their values.
        present = [(module, name, module._buffers[name]) for module, name, _ in buffers]
        _set(flags, required, buffers)
        try:
            with branches():
                yield
        finally:
            _set(later, changed, present)

    return again


def _set(
    flags: list[tuple[nn.Module, bool]],
    required: list[tuple[nn.Parameter, bool]],
    buffers: Sequence[tuple[nn.Module, str, Tensor | None]],
) -> None:
    for module, training in flags:
        module.training = training
    for weight, requires_grad in required:
        weight.requires_grad_(requires_grad)
    for module, name, buffer in buffers:
        module._buffers[name] = buffer
