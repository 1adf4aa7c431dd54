"""A training run's settings as one mapping: completed from the data, checked, and read back from a config.yaml."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from toughen.commands.images.of_run import told_by_images
from toughen.contracts import check_choice
from toughen.data import Augment, ImageSet
from toughen.errors import InputError, did_you_mean
from toughen.evaluation import Budget, Sample
from toughen.models import with_facts
from toughen.models.published import completed, names_weights
from toughen.numbers import check_number, check_seed
from toughen.settings.door import renamed_classes
from toughen.settings.signature import Setting
from toughen.settings.stored import stored_settings
from toughen.training.optimizer import trial, with_defaults
from toughen.training.trace.trace import Traced
from toughen.training.trackers import check_trackers


def with_data_facts(
    settings: dict[str, Any], images: ImageSet, begun: Callable[..., nn.Module] | None = None
) -> dict[str, Any]:
    """The settings with what depends on the data filled in; `begun` is the network of the run that goes on."""
    channels, height, _ = images.shape
    filled = dict(settings)
    if settings["threat"] is None:
        filled["threat"] = settings["data"].threat
    if not isinstance(settings["model"], nn.Module):
        filled["model"] = with_facts(completed(settings["model"], begun), **told_by_images(images))
        if settings["init"] is None and names_weights(settings["model"]):
            filled["init"] = "pretrained"
    if settings["augment"] is None:
        filled["augment"] = Augment(crop=height // 8, flip=channels == 3)
    filled["optimizer"] = with_defaults(settings["optimizer"])
    if settings["val_images"] is None:
        filled["val_images"] = max(1, min(len(images) // 10, 1000))
    return filled


def restore(config: Mapping[str, Any], known: Mapping[str, Setting], file: Path) -> dict[str, Any]:
    """Settings from a run's configuration, which this file holds; `known` are those that it may have.

    Raises:
        RunError: it has an unknown setting.
        InputError: a value of another type, or of a class that only `trust` lets a file name.
    """
    return stored_settings(renamed(config), known, file)


def renamed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration of an earlier version, with the names that its settings and classes have now."""
    config = renamed_classes(config)
    optimizer = config.get("optimizer")
    if isinstance(optimizer, dict) and isinstance(arguments := optimizer.get("init_args"), dict):
        rest = {name: value for name, value in arguments.items() if name != "decay_all"}
        if rest != arguments:  # it was a setting of SGD before there were others
            config = {**config, "optimizer": {**optimizer, "init_args": rest}, "decay_all": arguments["decay_all"]}
    return config


def extended(settings: dict[str, Any], epochs: int, run: str) -> dict[str, Any]:
    """The settings of a run that goes on to more epochs than it was begun with.

    Raises:
        InputError: it has as many or more, or what it has trained would have been another in a run of so many.
    """
    planned, schedule = settings["epochs"], settings["schedule"]
    if epochs < planned:
        raise InputError(
            f"--epochs {epochs}: the run in {run} has {planned}, and --resume can only add some; for fewer start "
            "another one without --resume"
        )
    reasons = [f"--{name}" for name in ("attack_steps", "image_size", "attack_eps") if settings[name] is not None]
    if any(schedule.factor(place / 8, planned) != schedule.factor(place / 8, epochs) for place in range(8 * planned)):
        reasons.insert(0, f"--schedule {type(schedule).__name__}")
    if epochs > planned and reasons:
        raise InputError(
            f"--epochs {epochs}: what {' and '.join(reasons)} did in {run} depends on its {planned} epochs: a run of "
            f"{epochs} would have been another from the start. Train that one: toughen train --config "
            f"{run}/config.yaml --epochs {epochs} --out {run}-{epochs}epochs (with --schedule Constant or MultiStep a "
            "run can be extended)"
        )
    return {**settings, "epochs": epochs}


def check_settings(settings: dict[str, Any]) -> None:
    """Raise where a setting, or two together, make no sense.

    Raises:
        InputError: naming the option.
    """
    check_trackers(settings["trackers"])
    for each in settings["trace"]:
        check_choice("trace", each, Traced)
    _check_counts(settings)
    _check_options(settings)


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
        if settings[name] is not None:
            check_number(f"--{name}", settings[name], least=1, whole=True)
    check_number("--workers", settings["workers"], least=0, whole=True)
    check_seed("--seed", settings["seed"])


def _check_options(settings: dict[str, Any]) -> None:
    for name, known in (
        ("budget", (*get_args(Budget), "none")),
        ("before", (*get_args(Budget), "none")),
        ("sample", get_args(Sample)),
        ("class_weight", ("none", "balanced")),
    ):
        if settings[name] not in known:  # it would be found after the training
            raise InputError(f"--{name}: unknown {settings[name]!r}; {did_you_mean(str(settings[name]), known)}")
    smoothing, awp = settings["label_smoothing"], settings["awp"]
    optimizer = trial(settings["optimizer"])
    if awp is not None and awp.decay_moved and not isinstance(optimizer, torch.optim.SGD):
        raise InputError(
            f"--awp.decay_moved: expected SGD, whose decay the published code applies to moved weights, got "
            f"--optimizer {type(optimizer).__name__}; leave one of the two out"
        )
    if settings["layer_decay"] is not None:
        check_number("--layer_decay", settings["layer_decay"], "a share", above=0, most=1, such="0.75")
    check_number("--body_rate", settings["body_rate"], "a share", above=0, most=1, such="0.1")
    if settings["clip_grad_norm"] is not None:
        # 0 trains nothing, a negative bound turns every gradient around.
        check_number("--clip_grad_norm", settings["clip_grad_norm"], "a norm", above=0, such="1")
    if settings["compile"] and not settings["fast"]:
        raise InputError("--compile is a fast path, and --fast false turns these off; leave one of the two out")
    check_number("--label_smoothing", smoothing, least=0, below=1, such="0.1")
    if smoothing and (off := settings["method"].own_smoothing()):
        raise InputError(
            f"--label_smoothing {smoothing}: {type(settings['method']).__name__} softens labels itself, and they would "
            f"be softened twice; drop --label_smoothing, or add {off}"
        )
    for name in ("cutmix", "image_size") if settings["method"].views else ():
        if settings[name] is not None:
            raise InputError(
                f"--{name}: {type(settings['method']).__name__} trains on further views of each image, which stay as "
                f"they are; leave --{name} out, or set --method.views 0"
            )
    if awp is not None and awp.start > settings["epochs"]:
        raise InputError(
            f"--awp.start: weights would be moved from epoch {awp.start} on, but the run has {settings['epochs']}; "
            "lower --awp.start or raise --epochs"
        )
