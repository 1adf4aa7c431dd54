"""Attack a model on test images, record a verdict an image, and write the report."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toughen.config import describe, instantiate
from toughen.data.source import DataSource, ImageSet
from toughen.errors import InputError, RunError
from toughen.evaluation import Budget, Evaluation, Progress, Sample, evaluate_model, with_weights
from toughen.models.build import build_model, with_facts
from toughen.reports.html import write_report
from toughen.run import RunFolder
from toughen.threat import ThreatModel


def evaluate(
    run: str | None = None,
    *,
    model: Callable[..., nn.Module] | None = None,
    weights: str | None = None,
    data: DataSource | None = None,
    threat: ThreatModel | None = None,
    budget: Budget = "standard",
    test_images: int | None = None,
    sample: Sample = "first",
    seed: int = 0,
    batch_size: int = 250,
    device: str = "auto",
    out: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Attack a model on test images, record a verdict an image, and write the report.

    Args:
        run: folder of a training run: its model, weights, data and threat model are used where none is given.
        model: the network, by class and settings; needed without a run.
        weights: a .safetensors file for it; needed without a run.
        data: the source whose test images are attacked; needed without a run.
        threat: what the attacker may do; default the run's, without a run l-inf 8/255.
        budget: attacks to run: quick (FGSM, PGD-20) or standard (FGSM, PGD-20, AutoAttack).
        test_images: number of test images; default all.
        sample: which of them: the first, or a random sample drawn with the seed.
        seed: of the sample and of the attacks.
        batch_size: images attacked together; fewer need less memory.
        device: auto, cpu, cuda or cuda:1.
        out: folder for the result; default the run's folder, without a run runs/evaluate-<weights>.
        overwrite: replace an earlier result in that folder.
        progress: called as an attack starts on a batch; the command line passes its progress bar.

    Returns:
        Evaluation: verdicts, result and a few images; they lie in the folder too, with report.html.

    Raises:
        ToughenError: a setting, the model, the data or the folder is not usable; the message says what to do.
    """
    _need_model(run, model, weights, data)
    source = None if run is None else RunFolder(run)
    sections = {"model": model, "data": data, "threat": threat}
    config = _read(source, [name for name, value in sections.items() if value is None])
    folder = RunFolder(out or run or f"runs/evaluate-{_name(model, weights)}")
    own = source is not None and folder.path.resolve() == source.path.resolve()
    _check_place(folder, own, overwrite)
    chosen_data = data if data is not None else instantiate(config["data"])
    chosen_threat = threat if threat is not None else ThreatModel(**config.get("threat", {}))
    images = chosen_data.load("test")
    path = None if weights is None else Path(weights)
    if path is None and source is not None:
        source.require(source.model)
        path = source.model
    network = _network(model, path, config, images)
    settings: dict[str, Any] = {
        "budget": budget,
        "test_images": test_images,
        "sample": sample,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
    }
    evaluation = evaluate_model(network, images, chosen_threat, progress=progress, **settings)
    if not own:
        parts = {"weights": path, "data": chosen_data, "threat": chosen_threat}
        folder.write_config({"model": _described(model, config, images), **describe({**parts, **settings})})
    return _finish(folder, evaluation)


def evaluate_into(
    folder: RunFolder,
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    budget: Budget = "standard",
    test_images: int | None = None,
    sample: Sample = "first",
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model that is at hand, and write verdicts, result, images and report into a folder.

    The settings are those of `evaluate`.
    """
    evaluation = evaluate_model(
        model,
        images,
        threat,
        budget=budget,
        test_images=test_images,
        sample=sample,
        seed=seed,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
    return _finish(folder, evaluation)


def _finish(folder: RunFolder, evaluation: Evaluation) -> Evaluation:
    evaluation.save(folder)
    write_report(folder)
    return evaluation


def _need_model(run: str | None, model: Any, weights: str | None, data: DataSource | None) -> None:
    """Without a run, everything that a run would tell must be given; a ready-made network has its weights."""
    trained = model if isinstance(model, nn.Module) else weights
    given = {"--model": model, "--weights": trained, "--data": data}
    missing = [flag for flag, value in given.items() if value is None]
    if run is None and missing:
        raise InputError(
            f"evaluate: without a run folder {', '.join(given)} are needed, missing: {', '.join(missing)}; "
            "expected `toughen evaluate runs/NAME`, or for example "
            "`toughen evaluate --model ResNet18 --weights model.safetensors --data CIFAR10`"
        )


def _read(source: RunFolder | None, needed: list[str]) -> dict[str, Any]:
    """The run's config.yaml, with the sections that are needed from it."""
    if source is None:
        return {}
    config = source.read_config()
    missing = [name for name in needed if not isinstance(config.get(name), dict)]
    if missing:
        raise RunError(
            f"{source.config} has no {', '.join(missing)}; expected the configuration of a run of "
            f"`toughen train`, or --{' --'.join(missing)}"
        )
    return config


def _check_place(folder: RunFolder, own: bool, overwrite: bool) -> None:
    """Refuse to replace a result unasked, and to put an evaluation into a folder that is something else."""
    if not own and (folder.model.exists() or folder.checkpoint.exists()):
        raise RunError(f"{folder.path} is a training run of its own; give another folder with --out")
    if folder.result.exists():
        if not overwrite:
            raise RunError(
                f"{folder.path} has a result already; replace it with --overwrite, or write this one to "
                "another folder with --out"
            )
    elif not own:
        if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
            raise RunError(f"{folder.path} exists and holds no evaluation; give another folder with --out")
        folder.create()
    if not os.access(folder.path, os.W_OK):
        raise RunError(f"cannot write to {folder.path}: permission denied; choose another folder with --out")


def _name(model: Callable[..., nn.Module] | None, weights: str | None) -> str:
    return Path(weights).stem if weights is not None else type(model).__name__.lower()


def _described(model: Callable[..., nn.Module] | None, config: dict[str, Any], images: ImageSet) -> Any:
    if model is None:
        return config["model"]
    return describe(
        model if isinstance(model, nn.Module) else with_facts(model, len(images.classes), images.shape[0])
    )


def _network(
    model: Callable[..., nn.Module] | None, weights: Path | None, config: dict[str, Any], images: ImageSet
) -> nn.Module:
    if model is None:
        network = instantiate(config["model"])
    elif isinstance(model, nn.Module):
        network = copy.deepcopy(model)
    else:
        classes, channels = len(images.classes), images.shape[0]
        zeros, ones = [0.0] * channels, [1.0] * channels
        network = build_model(model, num_classes=classes, in_channels=channels, mean=zeros, std=ones)
    return network if weights is None else with_weights(network, weights)
