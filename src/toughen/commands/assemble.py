"""From complete settings to a trainer that is ready to run."""

import copy
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from toughen.commands.extra import hold_with_extra
from toughen.commands.network import fresh_model, precision_of
from toughen.data import ImageSet, Loader, sample_by_class, soften, split_validation
from toughen.errors import InputError
from toughen.hardware.device import find_device
from toughen.methods import Method
from toughen.models import check_outputs
from toughen.models.state import extra_as_text
from toughen.run import RunFolder
from toughen.training import Observer, Settings, Silent, Trainer, make_accelerator, own_randomness


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
    generators = seeded(seed, accelerator.process_index, device)
    method.under(settings["threat"], generators["attack"])
    images, filling = hold_with_extra(settings["extra"], training_set, folder, device)
    method.remember(len(images), images.shape)
    network = method.prepare(network)
    check_fit(network, method, training_set, settings)
    train_indices, val_indices = split_validation(training_set.labels, settings["val_images"], seed)
    train_indices = draw(train_indices, training_set.labels, settings["train_images"], seed)
    measured = draw(train_indices, training_set.labels, min(1000, len(train_indices)), seed)
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
    validation = Loader(images, val_indices, settings["batch_size"], device=device)
    return Trainer(
        network,
        method,
        train_loader,
        next(iter(Loader(images, measured, 1000, device=device))),
        list(validation),
        Settings(**{name: settings[name] for name in Settings.__dataclass_fields__}),
        folder,
        accelerator,
        generators,
        observer,
        torch.channels_last if settings["channels_last"] and settings["fast"] else torch.contiguous_format,
        partial(
            soften,
            classes=len(training_set.classes),
            smoothing=settings["label_smoothing"],
            cutmix=settings["cutmix"],
            generator=generators["mix"],
        ),
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


def seeded(seed: int, process: int, device: torch.device) -> dict[str, torch.Generator]:
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


def draw(indices: torch.Tensor, labels: torch.Tensor, count: int | None, seed: int) -> torch.Tensor:
    """So many of the indices, drawn by the classes of these images with the seed; sorted.

    Raises:
        InputError: more are asked for than there are.
    """
    if count is None:
        return indices
    if count > len(indices):
        raise InputError(f"--train_images: expected at most {len(indices)}, got {count}")
    return indices[sample_by_class(labels[indices], count, seed)]
