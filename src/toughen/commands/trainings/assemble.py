"""From complete settings to a trainer that is ready to run."""

import copy
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from toughen.commands.trainings.extra import hold_with_extra
from toughen.commands.trainings.network import check_fit, fresh_model, precision_of
from toughen.data import ImageSet, Loader, sample_by_class, soften, split_validation
from toughen.data.mixing import balanced_weights
from toughen.errors import InputError
from toughen.hardware.device import find_device
from toughen.models.synced_batchnorm import synced_batch_norms
from toughen.run import RunFolder
from toughen.training import Batches, Observer, Settings, Silent, Trainer, make_accelerator, own_randomness


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
    if settings["sync_batchnorm"] and accelerator.num_processes > 1:
        network = synced_batch_norms(network, device)
        synced_batch_norms(method, device)  # its networks
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
        views=method.views,
    )
    validation = list(Loader(images, val_indices, settings["batch_size"], device=device))
    weights = None
    if settings["class_weight"] == "balanced":
        labels = training_set.labels[train_indices]
        weights = balanced_weights(labels, len(training_set.classes)).to(device)
    softened = partial(
        soften,
        classes=len(training_set.classes),
        smoothing=settings["label_smoothing"],
        cutmix=settings["cutmix"],
        generator=generators["mix"],
        class_weights=weights,
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
