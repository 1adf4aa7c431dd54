"""Train a classifier, evaluate it and write its report."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from toughen.commands.evaluate import evaluate_into
from toughen.commands.extra import hold_with_extra
from toughen.config import describe, import_path, instantiate
from toughen.data import (
    Augment,
    CutMix,
    DataSource,
    Digits,
    ExtraImages,
    ImageSet,
    Loader,
    soften,
    split_validation,
)
from toughen.errors import InputError
from toughen.evaluation import Budget, Evaluation, Progress, Sample
from toughen.methods import TRADES, Method
from toughen.models import SmallCNN, build_model, check_outputs, load_weights, with_facts
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import (
    AWP,
    SGD,
    Average,
    Observer,
    OneCycle,
    Precision,
    Schedule,
    Settings,
    Silent,
    Tracker,
    Trainer,
    make_accelerator,
    own_randomness,
)


@dataclass(frozen=True)
class Trained:
    """What `train` gives back.

    Attributes:
        folder: the run's folder.
        model: the trained network with the reported weights, in eval mode.
        evaluation: its evaluation on test images; None where the budget was "none".
    """

    folder: RunFolder
    model: nn.Module
    evaluation: Evaluation | None


def train(
    data: DataSource = Digits(),
    model: Callable[..., nn.Module] = SmallCNN,
    method: Method = TRADES(),
    threat: ThreatModel | None = None,
    *,
    epochs: int = 30,
    batch_size: int = 128,
    optimizer: SGD = SGD(),
    schedule: Schedule = OneCycle(),
    average: Average | None = None,
    awp: AWP | None = None,
    clip_grad_norm: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    label_smoothing: float = 0.0,
    cutmix: CutMix | None = None,
    extra: ExtraImages | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
    select: Literal["best", "last"] = "best",
    precision: Precision = "auto",
    device: str = "auto",
    channels_last: bool = True,
    fast: bool = True,
    workers: int = 2,
    seed: int = 0,
    checkpoint_every: int | None = None,
    log_every: int = 20,
    trackers: list[Tracker] = ["tensorboard"],  # noqa: B006 - never changed
    budget: Budget | Literal["none"] = "standard",
    test_images: int | None = 1000,
    sample: Sample = "first",
    out: str | None = None,
    overwrite: bool = False,
    resume: str | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train an image classifier to withstand adversarial examples, evaluate it, and write its report.

    Args:
        data: the images: digits, cifar10, image_folder, parquet, ... or your own class.
        model: the network: small_cnn, resnet18, wide_resnet, timm, ... or your own torch.nn.Module.
        method: how it is trained: TRADES, PGDAT, ARR, Standard, ... or your own class.
        threat: the perturbations to withstand, norm and radius eps such as 8/255; default: what is customary for the data.
        epochs: passes over the training images.
        batch_size: images in a step, of all devices together.
        optimizer: learning rate, momentum and weight decay.
        schedule: learning rate over the run: OneCycle, Cosine, MultiStep or Constant.
        average: average of the weights: EMA or SWA; the averaged network is then the one that is reported.
        awp: adversarial weight perturbation: gamma, and the epoch that it starts with; default none.
        clip_grad_norm: largest norm of the gradient; longer ones are shortened.
        accumulate: batches whose gradients make one update.
        augment: random crop and flip; default: crop by an eighth of the size, flip for colour images.
        label_smoothing: share of every label that is spread over all classes in the supervised terms, 0 to below 1.
        cutmix: cut a box out of another image into every image, before the attack; default none.
        extra: more training images with labels or pseudo-labels, from an .npz file, for a fraction of every batch.
        train_images: train on so many images, drawn with the seed; default all that are not held out.
        val_images: training images held out to choose the checkpoint by; default a tenth, at most 1,000.
        select: report the checkpoint with the best robust accuracy on the held-out images, or the last one.
        precision: fp32, or bf16 for the network's passes; auto takes bf16 on a GPU that has it.
        device: auto, cpu, cuda, cuda:1, mps.
        channels_last: hold images and weights in the channels-last layout, which convolutions like.
        fast: attack a replica of the network whose BatchNorm is folded into its convolutions; false: the network itself.
        workers: processes that decode images where they do not fit in memory.
        seed: the same seed gives the same run on the same device.
        checkpoint_every: save within an epoch too, after so many steps.
        log_every: steps between two checks that the loss is finite.
        trackers: where figures go beside metrics.csv: tensorboard, mlflow, wandb.
        budget: attacks of the final evaluation: quick, standard (with AutoAttack) or none.
        test_images: largest number of test images in the final evaluation; null for all.
        sample: which of them: the first, or a random sample drawn with the seed.
        out: the run's folder; default runs/<data>-<model>-<method>.
        overwrite: replace an earlier run in that folder.
        resume: go on with the run in this folder, with its own settings, exactly where it stopped.
        observer: somebody who watches the training; the command line passes its progress bar.
        progress: called as an attack of the evaluation starts on a batch.

    Returns:
        Trained: folder, network and evaluation. The method and the network that were passed are not changed.

    Raises:
        ToughenError: a setting, the data or the run folder is not usable; the message says what to do.
    """
    given = locals()
    if resume is not None:
        folder = RunFolder(resume)
        settings = {**_DEFAULTS, **restore(folder.read_config())}
    else:
        folder = RunFolder(out or f"runs/{default_name(data, model, method)}")
        settings = {name: given[name] for name in _DEFAULTS}
    _check_counts(settings)
    _check_options(settings)
    training_set = settings["data"].load("train")
    settings = with_data_facts(settings, training_set)
    if resume is None:
        folder.create(overwrite)
        folder.write_config({name: describe(value) for name, value in settings.items()})
    return run(folder, settings, training_set, resume is not None, observer or Silent(), progress)


_PLACE = ("out", "overwrite", "resume", "observer", "progress")
_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(train).parameters.items()
    if name not in _PLACE
}


def run(
    folder: RunFolder,
    settings: dict[str, Any],
    training_set: ImageSet,
    resuming: bool,
    observer: Observer,
    progress: Progress | None,
) -> Trained:
    """Train, evaluate and report with complete settings, into an existing folder."""
    accelerator = make_accelerator(settings["precision"], settings["device"], settings["trackers"], folder)
    device, seed = accelerator.device, settings["seed"]
    if accelerator.log_with:
        accelerator.init_trackers("toughen")
    with own_randomness(seed):
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
        trainer = Trainer(
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
        if resuming:
            trainer.resume()
        trainer.fit()
    accelerator.end_training()
    reported = load_weights(fresh_model(settings["model"], training_set), folder.model).to(device).eval()
    evaluation = None
    if settings["budget"] != "none":
        test_set = settings["data"].load("test")
        evaluation = evaluate_into(
            folder,
            reported,
            test_set,
            settings["threat"],
            budget=settings["budget"],
            test_images=min(settings["test_images"] or len(test_set), len(test_set)),
            sample=settings["sample"],
            seed=seed,
            device=device,
            progress=progress,
        )
    return Trained(folder, reported, evaluation)


def fresh_model(model: Callable[..., nn.Module], images: ImageSet) -> nn.Module:
    """The network with new weights, or a copy of the one that was given ready-made."""
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    mean, std = images.channel_statistics()
    return build_model(
        model, num_classes=len(images.classes), in_channels=images.shape[0], mean=mean, std=std
    )


def with_data_facts(settings: dict[str, Any], images: ImageSet) -> dict[str, Any]:
    """The settings with what depends on the data filled in."""
    channels, height, _ = images.shape
    filled = dict(settings)
    if settings["threat"] is None:
        filled["threat"] = settings["data"].threat
    if not isinstance(settings["model"], nn.Module):
        filled["model"] = with_facts(settings["model"], len(images.classes), channels)
    if settings["augment"] is None:
        filled["augment"] = Augment(crop=height // 8, flip=channels == 3)
    if settings["val_images"] is None:
        filled["val_images"] = max(1, min(len(images) // 10, 1000))
    return filled


def restore(config: dict[str, Any]) -> dict[str, Any]:
    """Settings from a `config.yaml`."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if name == "threat":
            settings[name] = ThreatModel(**value)
        elif name == "model":
            settings[name] = partial(import_path(value["class_path"]), **(value.get("init_args") or {}))
        elif isinstance(value, dict) and "class_path" in value:
            settings[name] = instantiate(value)
        else:
            settings[name] = value
    return settings


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


def default_name(*parts: Any) -> str:
    """`digits-small_cnn-trades` and the like, for the run's folder."""
    names = [describe(part)["class_path"].rpartition(".")[2] for part in parts]
    return "-".join(names).lower()


def _check_counts(settings: dict[str, Any]) -> None:
    for name in (
        "epochs",
        "batch_size",
        "accumulate",
        "log_every",
        "test_images",
        "train_images",
        "val_images",
        "checkpoint_every",
    ):
        if settings[name] is not None and settings[name] < 1:
            raise InputError(f"--{name}: expected at least 1, got {settings[name]}")


def _check_options(settings: dict[str, Any]) -> None:
    smoothing, awp = settings["label_smoothing"], settings["awp"]
    if not 0 <= smoothing < 1:
        raise InputError(f"--label_smoothing: expected a number from 0 to below 1 such as 0.1, got {smoothing}")
    if smoothing and (off := settings["method"].own_smoothing()):
        raise InputError(
            f"--label_smoothing {smoothing}: {type(settings['method']).__name__} softens labels itself, and they would "
            f"be softened twice; drop --label_smoothing, or add {off}"
        )
    if awp is not None and awp.start > settings["epochs"]:
        raise InputError(
            f"--awp.start: weights would be moved from epoch {awp.start} on, but the run has {settings['epochs']}; "
            "lower --awp.start or raise --epochs"
        )
