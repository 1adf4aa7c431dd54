"""A network in hand, described so that a run's folder alone rebuilds it."""

import inspect
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.extras import library
from toughen.models.by_name import from_description
from toughen.models.mode import evaluating
from toughen.models.outputs import logits_in
from toughen.models.state import copied, split_state
from toughen.random_state import seeded
from toughen.settings.description import describe, path_of
from toughen.settings.own_files import exported_program


def described(network: nn.Module, images: Tensor) -> Any:
    """The plain-data form of a network: by its class and arguments, its library's builder, or its exported program.

    What is described is built and compared with the network: the tensors, the layers, the outputs. A program of
    `torch.export` has the network's eval mode alone: enough to evaluate it, not to train it further.

    Args:
        network: any.
        images: a few, on its device.

    Raises:
        InputError: none of the three gives this network.
    """
    for form in _forms(network, images):
        with suppress(Exception), seeded(0):
            if _is_like(from_description(form)(), network, images):
                return form
    return _exported(network, images)


def _forms(network: nn.Module, images: Tensor) -> Iterator[Any]:
    home = type(network).__module__
    libraries = {"timm.models.": _of_timm, "torchvision.models.": _of_torchvision}
    ways = [_of_its_class, *(way for place, way in libraries.items() if home.startswith(place))]
    for way in ways:
        forms: list[Any] = []
        with suppress(Exception):  # whatever attributes of a stranger's class raise
            forms = way(network, images)
        yield from forms


def _of_its_class(network: nn.Module, images: Tensor) -> list[Any]:
    return [describe(network)]


def _of_timm(network: Any, images: Tensor) -> list[Any]:
    """By timm's builder of the architecture, with what the network and the images tell."""
    models: Any = library("timm.models", "timm")
    builder = models.model_entrypoint(network.pretrained_cfg["architecture"])
    facts = {"num_classes": network.num_classes, "in_chans": images.shape[1]}
    given = describe({**getattr(network, "_model_args", {}), **facts})
    sizes: tuple[dict[str, Any], ...] = ({}, {"img_size": images.shape[-1]})
    return [{"class_path": path_of(builder), "init_args": {**given, **size}} for size in sizes]


def _of_torchvision(network: nn.Module, images: Tensor) -> list[Any]:
    """By those of torchvision's builders that give a network of this class with tensors of these shapes."""
    from torchvision import models

    with evaluating(network), torch.no_grad():
        given: dict[str, Any] = {"num_classes": logits_in(network(images)).shape[1]}
    if hasattr(network, "image_size"):
        given["image_size"] = network.image_size
    found = []
    for builder in map(models.get_model_builder, models.list_models(module=models)):
        if inspect.signature(builder).return_annotation is type(network):
            with suppress(Exception), torch.device("meta"):
                if _shapes(builder(**given)) == _shapes(network):
                    found.append({"class_path": path_of(builder), "init_args": given})
    return found


def _is_like(built: nn.Module, network: nn.Module, images: Tensor) -> bool:
    if _layers(built) != _layers(network) or _shapes(built) != _shapes(network):
        return False
    built.load_state_dict(network.state_dict())
    return _agree(built.to(images.device), network, images)


def _layers(network: nn.Module) -> list[tuple[str, type, str]]:
    """Each layer's name, class and what it says of itself, such as a rate of dropout."""

    def said(each: nn.Module) -> str:
        """All of it, where no layer lies in it: some define `__repr__` and leave `extra_repr` empty."""
        return repr(each) if next(each.children(), None) is None else each.extra_repr()

    return [(name, type(each), said(each)) for name, each in network.named_modules()]


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: each.shape for name, each in split_state(network)[0].items()}


def _agree(built: nn.Module, network: nn.Module, images: Tensor) -> bool:
    def logits(model: nn.Module) -> Tensor:
        with evaluating(model), torch.no_grad(), seeded(0):
            found: Tensor = logits_in(model(images))
            return found

    return torch.allclose(logits(built), logits(network), rtol=1e-4, atol=1e-5)


def _exported(network: nn.Module, images: Tensor) -> Any:
    name = type(network).__name__
    try:
        still = copied(network).cpu().eval().requires_grad_(True)
        few = images.cpu()
        made = torch.export.export(still, (few,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        file = io.BytesIO()
        torch.export.save(made, file)
        loader = exported_program(file.getvalue())
        if not _agree(loader(), still, few[:1]):
            raise InputError("the exported program gives other outputs")
    except Exception as error:  # whatever cannot be traced
        raise InputError(
            f"{name} could not be rebuilt from the run's folder: it is not what {path_of(type(network))} makes of "
            "what is kept under the names of its arguments, and torch.export fails: "
            f"{' '.join(str(error).split())[:200]}; give the class in place of the network (train(model={name})), "
            "define it in a module that can be imported, and keep each argument under its own name"
        ) from error
    return describe(loader)
