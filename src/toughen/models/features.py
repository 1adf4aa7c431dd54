"""What chosen layers of any network give, found by the layers' names."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.errors import InputError
from toughen.hardware.precision import at_least_fp32
from toughen.models.mode import evaluating
from toughen.models.split_batchnorm import is_batch_norm
from toughen.models.wide_resnet import WideResNet

WRAPPERS = ("network.network.", "network.", "")
"""What stands before a layer's name where the network is inside a Classifier, an adapter, or both."""


def find_layer(model: nn.Module, name: str) -> str:
    """A layer's full name from its name in the network itself, without that of the classifier around it.

    Raises:
        InputError: no such layer; the message lists the names that exist, the nearest first.

    >>> find_layer(nn.ModuleDict({"network": nn.Sequential(nn.Linear(2, 2))}), "0")
    'network.0'
    """
    known = [module for module, _ in model.named_modules() if module]
    for wrapper in reversed(WRAPPERS):
        if wrapper + name in known:
            return wrapper + name
    raise InputError(f"method.layers: the network has no layer {name!r}; nearest first, it has {_listed(name, known)}")


def _listed(name: str, known: list[str], most: int = 40) -> str:
    inner = [_in_network(full, known) for full in known]
    ranked = sorted(filter(None, inner), key=lambda each: -SequenceMatcher(None, name, each).ratio())
    more = f", and {len(ranked) - most} more" if len(ranked) > most else ""
    return ", ".join(ranked[:most]) + more


def _in_network(full: str, known: list[str]) -> str:
    wrapper = next(wrapper for wrapper in WRAPPERS if not wrapper or wrapper[:-1] in known)
    return full.removeprefix(wrapper) if full.startswith(wrapper) else ""


def last_stage(model: nn.Module) -> list[str]:
    """Full names of the layers that AR-AT aligns unless told otherwise.

    A network with stages layer1, layer2, ... (ours, torchvision's and timm's ResNets): the BatchNorms of the blocks of
    its last stage, for ResNet-18 the published four. A WideResNet: these, and the pooling at its end; the published
    layers there are the ReLUs behind them, which is the same, as features pass a ReLU anyway. Any other: its last four
    BatchNorms.

    Raises:
        InputError: no BatchNorm in it.
    """
    norms = [name for name, module in model.named_modules() if is_batch_norm(module)]
    if not norms:
        kind = type(model).__name__
        raise InputError(
            f"method.layers: expected names of layers, as there is no default for {kind}: it has no BatchNorm"
        )
    found = {name: re.search(r"(?:^|\.)layer(\d+)\.\d+\.bn\d+$", name) for name in norms}
    stages = {name: int(place[1]) for name, place in found.items() if place}
    last = [name for name, stage in stages.items() if stage == max(stages.values())]
    if any(isinstance(module, WideResNet) for module in model.modules()):
        last.append(find_layer(model, "avgpool"))
    return last or norms[-4:]


def stage_ends(model: nn.Module) -> list[str]:
    """Full names of the layers whose outputs a perceptual distance compares unless told otherwise.

    A network with stages layer1, layer2, ... or stages.0, stages.1, ...: these. Any other: its last four
    normalisations.

    Raises:
        InputError: it has neither.
    """
    names = [name for name, _ in model.named_modules()]
    stages = [name for name in names if re.search(r"(?:^|\.)(layer|stages\.)\d+$", name)]
    kinds = (nn.GroupNorm, nn.LayerNorm)
    norms = [name for name, layer in model.named_modules() if is_batch_norm(layer) or isinstance(layer, kinds)]
    if not stages and not norms:
        kind = type(model).__name__
        raise InputError(
            f"method.layers: expected names of layers, as there is no default for {kind}: it has neither stages called "
            "layer1, layer2, ... nor normalisations"
        )
    return stages or norms[-4:]


def unit_features(output: Tensor) -> Tensor:
    """A layer's output with the channels of each place scaled to length 1 and all to `1 / sqrt(places)`, N x D.

    `||unit_features(a) - unit_features(b)||` is then a layer's share of LPIPS. N x C x H x W, N x L x D of tokens, and
    N x C; in fp32 or better.

    >>> unit_features(torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])) * 2**0.5
    tensor([[0.6000, 0.0000, 0.8000, 1.0000]])
    """
    features = at_least_fp32(output)
    features = features.transpose(1, 2) if features.ndim == 3 else features.reshape(*features.shape[:2], -1)
    # vector_norm, whose gradient at 0 is 0: after a ReLU a place may have nothing.
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10
    return (features / (length * features.shape[2] ** 0.5)).flatten(1)


def pooled(output: Tensor) -> Tensor:
    """ReLU, then the mean over all places: N x C x H x W (and N x L x D, of tokens) become N x C, in fp32 or better.

    >>> pooled(torch.tensor([[[[1.0, -3.0]], [[2.0, 4.0]]]]))
    tensor([[0.5000, 3.0000]])
    """
    features = at_least_fp32(F.relu(output))
    if features.ndim == 3:
        return features.mean(dim=1)
    return features if features.ndim == 2 else features.flatten(2).mean(dim=2)


@contextmanager
def captured(
    model: nn.Module, names: Sequence[str], made: Callable[[Tensor], Tensor] = pooled
) -> Iterator[dict[str, Tensor]]:
    """Collect what is `made` of these layers' outputs in the forward passes inside.

    The hooks go at the end, also after an error. It is made at once, since a network may go on to change an output in
    place. Of a layer that is called several times the last output stays.
    """
    features: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise InputError(
                f"method.layers: {name} gives {type(output).__name__}, expected a tensor of N x C or more; choose a "
                "layer inside it"
            )
        features[name] = made(output)

    hooks = []
    try:
        for name in names:
            hooks.append(model.get_submodule(name).register_forward_hook(partial(keep, name)))
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def feature_widths(model: nn.Module, names: Sequence[str], shape: tuple[int, int, int] | None = None) -> list[int]:
    """The number of features that each layer gives, found by a forward pass in eval mode that leaves no trace.

    Args:
        model: the network.
        names: full names of layers.
        shape: that of an image, C x H x W; default 32 x 32 pixels with the channels that the first convolution takes.

    Raises:
        InputError: the network does not take such images, or a layer takes no part in the pass.
    """
    weight = next(model.parameters())
    shape = shape or (_channels(model), 32, 32)
    images = torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype)
    try:
        with evaluating(model), torch.no_grad(), captured(model, names) as features:
            model(images)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        size = " x ".join(map(str, shape))
        raise InputError(
            f"the network does not take images of {size} (C x H x W): {error}; say what it takes before it is "
            "prepared: method.allocate_memory(number_of_images, (C, H, W))"
        ) from error
    for name in names:
        if name not in features:
            raise InputError(f"method.layers: {name} takes no part in the network's forward pass; choose another layer")
    return [features[name].shape[1] for name in names]


def _channels(model: nn.Module) -> int:
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), 3)
