"""The network of a run: new, with the weights that it begins from, and fit for the images."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from toughen.commands.images.of_run import told_by_images
from toughen.data import ImageSet, sample_by_class
from toughen.errors import InputError, ToughenWarning
from toughen.hardware.precision import Precision, choose_precision
from toughen.methods import Method
from toughen.models import build_model, check_outputs, forward_flops
from toughen.models.build import behind
from toughen.models.instances import described
from toughen.models.mode import has_eval_mode_alone
from toughen.models.outputs import giving_logits
from toughen.models.published import publisher
from toughen.models.start import better_than_guessing, doubt_of_normalisation, start_from
from toughen.models.state import copied, extra_as_text
from toughen.models.weight_files import WeightFile, read_weights
from toughen.run import RunFolder
from toughen.run.manifest import check
from toughen.settings.description import describe


def fresh_model(model: Callable[..., nn.Module], images: ImageSet, normalize: bool | str = True) -> nn.Module:
    """The network with new weights, behind an input normalisation, or a copy of the one that was given ready-made.

    A ready-made one sees the images as they are, unless a normalisation is written out.
    It gives logits, whatever else the network gives beside them (see `giving_logits`).
    """
    if isinstance(model, nn.Module):
        network = copied(model)
        if isinstance(normalize, str) and normalize != "none":
            network = behind(network, normalize, images.shape[0])
    else:
        mean, std = images.channel_statistics()
        network = build_model(model, **told_by_images(images), mean=mean, std=std, normalize=normalize)
    return giving_logits(network, _few(network, images))


def _few(network: nn.Module, images: ImageSet) -> torch.Tensor:
    """Two images, on the network's device."""
    tensor = next((each for each in (*network.parameters(), *network.buffers())), torch.zeros(0))
    return images.subset(torch.arange(2))[0].to(tensor.device)


def description_of(settings: Mapping[str, Any], images: ImageSet) -> dict[str, Any]:
    """What config.yaml says of a run's settings; a ready-made network is described so that the folder rebuilds it.

    Raises:
        InputError: it cannot be rebuilt.
    """
    model = settings["model"]
    told = {name: None if value is model else describe(value) for name, value in settings.items()}
    if not isinstance(model, nn.Module):
        return told | {"model": describe(model)}
    return told | {"model": described(giving_logits(copied(model), _few(model, images)), _few(model, images))}


def begin_from(network: nn.Module, settings: Mapping[str, Any], images: ImageSet) -> bool:
    """Give a new network the weights that a run starts from, where it starts from some.

    Whether it tells the classes of these images apart already, better than guessing does.

    A `ToughenWarning` says what was done, and what looks wrong with it: the accuracy on some images is compared behind
    the usual normalisations, where the weights are for the images' classes.

    Raises:
        RunError: a file that cannot be read, or weights of another architecture.
        InputError: `pretrained`, and there are no such weights.
    """
    looked_at, said = isinstance(settings["model"], nn.Module), list[str]()
    if settings["init"] not in (None, "random"):
        file, place = _weights(network, settings["init"])
        keeps = settings["normalize"] is not True
        start = start_from(network, file, place, images.classes, keep_normalisation=keeps)
        looked_at, said = start.same_classes, start.sentences
    few = images.subset(sample_by_class(images.labels, min(512, len(images)), seed=0)) if looked_at else None
    doubt = doubt_of_normalisation(network, *few, trained=bool(said)) if few else None
    for text in [*said, *([doubt] if doubt else [])]:
        warnings.warn(text, ToughenWarning, stacklevel=3)
    return few is not None and better_than_guessing(network, *few)


def _weights(network: nn.Module, init: str) -> tuple[WeightFile, str]:
    """The weights of `--init`, and what messages call them."""
    if init == "pretrained":
        return publisher(network).published(), "--init pretrained"
    path = Path(init)
    check(path, f"where it is a run's, `toughen train --resume {path.parent}` makes it again if it can")
    return replace(read_weights(path), classes=RunFolder(path.parent).read_classes()), init


def precision_of(
    settings: dict[str, Any], network: nn.Module, images: ImageSet, device: torch.device
) -> Literal["fp32", "bf16"]:
    """The precision of a run with these settings on this device.

    Raises:
        InputError: the network cannot take the images.
    """
    asked: Precision = "fp32" if settings["precision"] == "auto" and not settings["fast"] else settings["precision"]
    first = images.subset(torch.arange(2))[0]
    return choose_precision(asked, device, lambda: forward_flops(network, first, len(images.classes)))


def check_fit(network: nn.Module, method: Method, images: ImageSet, settings: dict[str, Any]) -> None:
    """Raise unless network and method can do with the images what the settings ask for.

    Raises:
        InputError: naming the network's output, or the option.
    """
    first = images.subset(torch.arange(2))[0]
    if has_eval_mode_alone(network):
        raise InputError(
            "the network is a program of torch.export, which has eval mode alone and cannot be trained; give the "
            "network that it was exported from: toughen.train(model=NETWORK, ...), with resume=RUN too"
        )
    extra_as_text(network)  # while nothing is lost yet
    check_outputs(network, first, len(images.classes))
    for name in ("attack_steps", "attack_eps"):
        if settings[name] is not None:
            settings[name].check(method)
    if settings["image_size"] is not None:
        settings["image_size"].check(method)
        try:
            check_outputs(network, settings["image_size"].resized(first, 0, 1), len(images.classes))
        except InputError as error:
            raise InputError(f"--image_size.first {settings['image_size'].first}: {error}; raise it") from error
