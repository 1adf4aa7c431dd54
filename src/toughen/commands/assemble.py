"""From complete settings to a trainer that is ready to run."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from toughen.commands.extra import hold_with_extra
from toughen.data import ImageSet, Loader, soften, split_validation
from toughen.errors import InputError
from toughen.models import build_model, check_outputs
from toughen.run import RunFolder
from toughen.training import Observer, Settings, Trainer


def assemble(
    folder: RunFolder,
    settings: dict[str, Any],
    training_set: ImageSet,
    accelerator: Accelerator,
    observer: Observer,
) -> Trainer:
    """The network, the method, the loaders and the generators of a run, on its device.

    Draws initial weights from torch's global generator.

    Raises:
        InputError: the network does not fit the data, or a setting does not.
    """
    device, seed = accelerator.device, settings["seed"]
    network = fresh_model(settings["model"], training_set)
    method = copy.deepcopy(settings["method"])
    places = {"attack": device, "augment": device, "mix": "cpu"}
    generators = {name: torch.Generator(place) for name, place in places.items()}
    for offset, generator in enumerate(generators.values()):
        generator.manual_seed(len(generators) * seed + offset)
    method.under(settings["threat"], generators["attack"])
    images, filling = hold_with_extra(settings["extra"], training_set, folder, device)
    method.remember(len(images), images.shape)
    network = method.prepare(network)
    check_outputs(network, training_set.subset(torch.arange(2))[0], len(training_set.classes))
    train_indices, val_indices = split_validation(len(training_set), settings["val_images"], seed)
    train_indices = draw(train_indices, settings["train_images"], seed)
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
        next(iter(Loader(images, train_indices[:1000], 1000, device=device))),
        list(validation),
        Settings(**{name: settings[name] for name in Settings.__dataclass_fields__}),
        folder,
        accelerator,
        generators,
        observer,
        torch.channels_last if settings["channels_last"] else torch.contiguous_format,
        partial(
            soften,
            classes=len(training_set.classes),
            smoothing=settings["label_smoothing"],
            cutmix=settings["cutmix"],
            generator=generators["mix"],
        ),
    )


def fresh_model(model: Callable[..., nn.Module], images: ImageSet) -> nn.Module:
    """The network with new weights, or a copy of the one that was given ready-made."""
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    mean, std = images.channel_statistics()
    return build_model(model, num_classes=len(images.classes), in_channels=images.shape[0], mean=mean, std=std)


def draw(indices: torch.Tensor, count: int | None, seed: int) -> torch.Tensor:
    """So many of the indices, drawn with the seed; sorted.

    Raises:
        InputError: more are asked for than there are.
    """
    if count is None:
        return indices
    if count > len(indices):
        raise InputError(f"--train_images: expected at most {len(indices)}, got {count}")
    chosen = torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))[:count]
    return indices[chosen].sort().values
