"""From complete settings to a trainer that is ready to run."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn

from toughen.commands.extra import hold_with_extra
from toughen.data import ImageSet, Loader, sample_by_class, soften, split_validation
from toughen.errors import InputError, ToughenWarning
from toughen.hardware.device import find_device
from toughen.hardware.precision import Precision, choose_precision
from toughen.methods import Method
from toughen.models import build_model, check_outputs, forward_flops
from toughen.models.outputs import giving_logits
from toughen.models.start import doubt_of_normalisation, start_from
from toughen.models.state import copied, extra_as_text
from toughen.run import RunFolder
from toughen.training import Batches, Observer, Settings, Silent, Trainer, make_accelerator, own_randomness


def fresh_model(model: Callable[..., nn.Module], images: ImageSet, normalize: bool | str = True) -> nn.Module:
    """The network with new weights, behind an input normalisation, or a copy of the one that was given ready-made.

    It gives logits, whatever else the network gives beside them (see `giving_logits`).
    """
    if isinstance(model, nn.Module):
        network = copied(model)
    else:
        mean, std = images.channel_statistics()
        facts = {"num_classes": len(images.classes), "in_channels": images.shape[0]}
        network = build_model(model, **facts, mean=mean, std=std, normalize=normalize)
    tensor = next((each for each in (*network.parameters(), *network.buffers())), torch.zeros(0))
    return giving_logits(network, images.subset(torch.arange(2))[0].to(tensor.device))


def begin_from(network: nn.Module, weights: Path, images: ImageSet) -> None:
    """Give a new network the weights of a file; a `ToughenWarning` says what was done, and what looks wrong with it.

    Raises:
        RunError: a file that cannot be read, or weights of another architecture.
    """
    said = start_from(network, weights)
    few = images.subset(sample_by_class(images.labels, min(512, len(images)), seed=0))
    doubt = doubt_of_normalisation(network, *few) if said.same_classes else None
    for text in [*said.sentences, *([doubt] if doubt else [])]:
        warnings.warn(text, ToughenWarning, stacklevel=3)


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


def assemble(
    folder: RunFolder,
    settings: dict[str, Any],
    training_set: ImageSet,
    network: nn.Module,
    accelerator: Accelerator,
    observer: Observer,
) -> Trainer:
    """The method, the loaders and the generators of a run with this network, on its device.

    Draws the initial weights of what the method adds to the network from torch's global generator.

    Raises:
        InputError: the network does not fit the data, or a setting does not.
    """
    device, seed = accelerator.device, settings["seed"]
    method = copy.deepcopy(settings["method"])
    generators = run_generators(seed, accelerator.process_index, device)
    method.under(settings["threat"], generators["attack"])
    images, filling = hold_with_extra(settings["extra"], training_set, folder, device)
    method.allocate_memory(len(images), images.shape)
    network = method.prepare(network)
    check_fit(network, method, training_set, settings)
    train_indices, val_indices = split_validation(training_set.labels, settings["val_images"], seed)
    train_indices = draw_training_images(train_indices, training_set.labels, settings["train_images"], seed)
    probe = draw_training_images(train_indices, training_set.labels, min(1000, len(train_indices)), seed)
    train_loader = Loader(
        images,
        train_indices,
        settings["batch_size"],
        device=device,
        augment=settings["augment"],
        generator=generators["augment"],
        shuffle=True,
        seed=seed,
        workers=settings["workers"],
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        extra=filling,
    )
    validation = list(Loader(images, val_indices, settings["batch_size"], device=device))
    softened = partial(
        soften,
        classes=len(training_set.classes),
        smoothing=settings["label_smoothing"],
        cutmix=settings["cutmix"],
        generator=generators["mix"],
    )
    return Trainer(
        network,
        method,
        Batches(train_loader, next(iter(Loader(images, probe, 1000, device=device))), validation, softened),
        Settings(**{name: settings[name] for name in Settings.__dataclass_fields__}),
        folder=folder,
        accelerator=accelerator,
        generators=generators,
        observer=observer,
    )


def ready(folder: RunFolder, settings: dict[str, Any], training_set: ImageSet) -> Trainer:
    """A trainer outside any run, to take steps with: nothing is written unless it saves itself.

    Args:
        folder: where it would write.
        settings: complete ones; see `with_data_facts`.
        training_set: the images.

    Raises:
        ToughenError: a setting does not fit.
    """
    device = find_device(settings["device"])
    with own_randomness(settings["seed"]):
        network = fresh_model(settings["model"], training_set, settings["normalize"])
        accelerator = make_accelerator(precision_of(settings, network, training_set, device), device, [], folder)
        return assemble(folder, settings, training_set, network, accelerator, Silent())


def run_generators(seed: int, process: int, device: torch.device) -> dict[str, torch.Generator]:
    """The generators of one process's random numbers, which no other process repeats."""
    places = {"attack": device, "augment": device, "mix": torch.device("cpu")}
    generators = {name: torch.Generator(place) for name, place in places.items()}
    for offset, generator in enumerate(generators.values()):
        generator.manual_seed(len(generators) * seed + offset + 1_000_003 * process)
    return generators


def check_fit(network: nn.Module, method: Method, images: ImageSet, settings: dict[str, Any]) -> None:
    """Raise unless network and method can do with the images what the settings ask for.

    Raises:
        InputError: naming the network's output, or the option.
    """
    first = images.subset(torch.arange(2))[0]
    extra_as_text(network)  # while nothing is lost yet
    check_outputs(network, first, len(images.classes))
    if settings["attack_steps"] is not None:
        settings["attack_steps"].check(method)
    if settings["image_size"] is not None:
        settings["image_size"].check(method)
        try:
            check_outputs(network, settings["image_size"].resized(first, 0, 1), len(images.classes))
        except InputError as error:
            raise InputError(f"--image_size.first {settings['image_size'].first}: {error}; raise it") from error


def draw_training_images(indices: torch.Tensor, labels: torch.Tensor, count: int | None, seed: int) -> torch.Tensor:
    """So many of the indices, drawn by the classes of these images with the seed; sorted.

    Raises:
        InputError: more are asked for than there are.
    """
    if count is None:
        return indices
    if count > len(indices):
        raise InputError(f"--train_images: expected at most {len(indices)}, got {count}")
    return indices[sample_by_class(labels[indices], count, seed)]
