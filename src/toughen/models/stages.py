"""The parts of a network: its layers in their order, and stages that a training leaves as they are."""

import importlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from toughen.errors import InputError, did_you_mean
from toughen.models.features import WRAPPERS

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def distances(model: nn.Module) -> dict[nn.Parameter, int]:
    """How many layers each parameter that is trained lies before the head; the head's are at 0.

    A network of timm tells its layers. In any other a layer is what a Sequential, ModuleList or ModuleDict holds, such
    as a residual block or a transformer's, and every module with weights that neither holds others nor is held by such
    a block; in the order in which they were registered. Biases and normalisation belong to the layer before them.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    >>> list(distances(network).values())
    [1, 1, 1, 1, 0, 0]
    """
    of_timm = next((module for module in model.modules() if hasattr(module, "group_matcher")), None)
    if of_timm is not None:
        return _told_by_timm(of_timm)
    layers: list[list[nn.Parameter]] = []
    for part in _parts(model, held=False):
        members = [parameter for parameter in part if parameter.requires_grad]
        if members and (not layers or any(parameter.ndim > 1 for parameter in members)):
            layers.append(members)
        elif members:
            layers[-1].extend(members)
    return {parameter: len(layers) - 1 - place for place, layer in enumerate(layers) for parameter in layer}


def _told_by_timm(network: nn.Module) -> dict[nn.Parameter, int]:
    library: Any = importlib.import_module("timm.optim")  # its networks alone tell their layers
    groups = library.param_groups_layer_decay(network, layer_decay=0.5)
    return {parameter: round(-math.log2(group["lr_scale"])) for group in groups for parameter in group["params"]}


def _parts(module: nn.Module, held: bool) -> Iterator[list[nn.Parameter]]:
    """Parameters of the parts of a module; `held`: it lies in a container."""
    container = type(module) in _CONTAINERS
    if held and not container:
        yield list(module.parameters())
        return
    yield list(module.parameters(recurse=False))
    for child in module.children():
        yield from _parts(child, container)


def freeze(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Take these modules out of the training: their parameters need no gradient any more.

    Args:
        model: a network, perhaps behind our normalisation and within adapters, whose names may be left out.
        names: of modules as `named_modules` has them, such as conv1 or layer1.0.

    Returns:
        list[nn.Module]: the modules. They are to be kept in eval mode, so that BatchNorm keeps its statistics.

    Raises:
        InputError: a name that the network does not have, or nothing that is left to train.
    """
    frozen = [_named(model, name) for name in names]
    for module in frozen:
        module.requires_grad_(False)
    if frozen and not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"--freeze {','.join(names)}: nothing of the network is left to train; leave some of it out")
    return frozen


def _named(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    for wrapper in WRAPPERS:
        if name and wrapper + name in modules:
            return modules[wrapper + name]
    wrapper = next(each for each in WRAPPERS if not each or each.removesuffix(".") in modules)
    own = {each.removeprefix(wrapper): module for each, module in modules.items() if each.startswith(wrapper)}
    stages = [
        each for each, module in own.items() if each and "." not in each and any(True for _ in module.parameters())
    ]
    raise InputError(f"--freeze: the network has no {name!r}; {did_you_mean(name, stages)}, and the names within them")


def has_batch_norm(modules: Sequence[nn.Module]) -> bool:
    """Whether one of these holds a BatchNorm."""
    return any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for each in modules for part in each.modules())
