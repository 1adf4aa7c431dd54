"""The second network of some methods: a guide that learns beside the trained one, or a fixed helper."""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from toughen import catalog
from toughen.errors import InputError, RunError, ToughenError
from toughen.models.build import Classifier, Normalize, load_weights, with_facts
from toughen.models.initialise import initialise
from toughen.models.load import untrained
from toughen.models.state import copied
from toughen.run import RunFolder
from toughen.settings.description import path_of
from toughen.settings.door import describing_file, import_from_file
from toughen.settings.names import import_path


class Guide:
    """The network that guides the trained one, and what it starts from.

    Args:
        network: its class, by name (resnet18) or import path; default: the trained network's architecture.
        settings: arguments of that class, such as `{"width": 32}`; classes and channels are filled in.
        weights: what it starts from: the folder of a run (then with that run's network), or a .safetensors
            file; default: fresh weights.

    >>> import torch
    >>> from toughen.models import SmallCNN
    >>> guide = Guide("resnet18", {"width": 4}).build(SmallCNN(num_classes=7, in_channels=1))
    >>> guide(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 7])

    Raises:
        InputError: settings without a network, or a network beside the folder of a run, which has its own.
    """

    def __init__(
        self, network: str | None = None, settings: dict[str, Any] | None = None, weights: str | None = None
    ) -> None:
        if settings and network is None:
            raise InputError(f"guide.settings: expected guide.network with them, got only {settings}")
        if weights is not None and network is not None and Path(weights).is_dir():
            raise InputError(
                f"guide.network: {weights} is a run's folder and has its own network, got {network!r} beside "
                "it; leave guide.network out, or give guide.weights a .safetensors file"
            )
        self.network = network
        self.settings = settings
        self.weights = weights
        self._file = describing_file()

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None and name != "_file"}
        return f"Guide({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def build(self, model: nn.Module) -> nn.Module:
        """A new guide for `model`, on its device, in train mode, sharing nothing with it.

        Fresh weights are drawn from torch's global generators, as those of every network. Another
        architecture stands behind the same input normalisation as `model`, unless it normalises by itself.

        Raises:
            InputError: the class is unknown, cannot be built with the settings, or has other classes.
            RunError: the weights cannot be read, or are of another architecture.
        """
        if self.weights is not None and self.network is None:
            guide = trained_network(self.weights, model)
        elif self.network is None:
            guide = fresh_copy(model)
        else:
            guide = _like(_built(self.network, self.settings or {}, model, self._file), model)
            guide = guide if self.weights is None else load_weights(guide, Path(self.weights))
        return _fitting(guide, model).train()


def fresh_copy(model: nn.Module) -> nn.Module:
    """The architecture of `model` with new weights, drawn from torch's global generators.

    Every layer that has `reset_parameters` draws anew, convolutions and BatchNorm then as in our networks.
    Parameters that belong to no such layer (a transformer's class token) start as a copy.
    """
    fresh = copied(model).requires_grad_(True)
    for module in fresh.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    initialise(fresh)
    return fresh


def trained_network(weights: str, model: nn.Module) -> nn.Module:
    """The network of a run's folder, or the architecture of `model` with the weights of a .safetensors file.

    On the device of `model`, and in its train or eval mode.

    Raises:
        RunError: no such file or folder, a damaged one, or weights of another architecture.
        InputError: the network's number of classes is not that of `model`.
    """
    path = Path(weights)
    if not path.exists():
        raise RunError(
            f"no network at {path}: expected the folder of a run, or a .safetensors file; make one with "
            f"`toughen train --out {path}`"
        )
    if not path.is_dir():
        return _fitting(load_weights(copied(model), path), model)
    folder = RunFolder(path)
    folder.require(folder.config, folder.model)
    return _fitting(load_weights(_like(untrained(folder), model), folder.model), model)


def _built(network: str, settings: dict[str, Any], model: nn.Module, file: str | None) -> nn.Module:
    """A network of this class for the images and classes of `model`; `file` is what names it, unless the user does."""
    path, place = catalog.find("models", network, "guide.network"), f"{file}: guide.network"
    called = import_path(path) if file is None else import_from_file(path, place, settings, nn.Module, file)
    factory = with_facts(called, class_count(model), _channels(model))
    given = {**factory.keywords, **settings}
    try:
        return factory(**given)
    except ToughenError:
        raise
    except Exception as error:
        if file is None and not isinstance(error, TypeError):
            raise  # the user's own class: where it failed, only its traceback tells
        raise InputError(f"guide.network: {path_of(factory.func)} cannot be built with {given}: {error}") from error


def _like(network: nn.Module, model: nn.Module) -> nn.Module:
    """`network` behind the input normalisation of `model`, unless it has its own."""
    if _normalize(network) is not None:
        return network
    # Mean 0 and std 1 change nothing: for a model that takes its images as they are.
    unchanged = Normalize([0.0] * _channels(model), [1.0] * _channels(model))
    return Classifier(copy.deepcopy(_normalize(model)) or unchanged, network)


def _fitting(network: nn.Module, model: nn.Module) -> nn.Module:
    """`network` on the device of `model`, after a check that both tell the same number of classes apart."""
    if class_count(network) != class_count(model):
        raise InputError(
            f"the second network gives {class_count(network)} logits, the trained one {class_count(model)}; "
            "expected one that was made for the same classes"
        )
    parameter = next(model.parameters())
    return network.to(parameter.device).train(model.training)


def class_count(model: nn.Module) -> int:
    """Number of logits: the `num_classes` that the network states, else the outputs of its last linear layer.

    Raises:
        InputError: it states none and has no linear layer.
    """
    stated = (getattr(module, "num_classes", None) for module in model.modules())
    linear = [module.out_features for module in model.modules() if isinstance(module, nn.Linear)]
    counts = [count for count in stated if isinstance(count, int)] or linear[-1:]
    if not counts:
        raise InputError(
            f"cannot tell the number of classes of {type(model).__name__}: expected an attribute "
            "num_classes on it, or a linear layer at its end"
        )
    return counts[0]


def _channels(model: nn.Module) -> int:
    normalize = _normalize(model)
    if normalize is not None:
        return int(normalize.mean.shape[1])
    convolutions = [module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    return convolutions[0] if convolutions else 3


def _normalize(model: nn.Module) -> Normalize | None:
    return next((module for module in model.modules() if isinstance(module, Normalize)), None)
