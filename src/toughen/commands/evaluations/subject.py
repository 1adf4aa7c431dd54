"""What an evaluation is of: a network and images in hand, or what a run and the command line name."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toughen.commands.evaluations.elsewhere import network_from, settled, weights_of
from toughen.commands.evaluations.into_folder import check_place
from toughen.commands.images.classes import with_model_labels
from toughen.commands.images.of_run import images_of_split
from toughen.data.source import DataSource, ImageSet
from toughen.data.tensors import image_set
from toughen.errors import InputError, RunError
from toughen.models.build import behind
from toughen.models.inference import frozen
from toughen.models.load import with_weights
from toughen.models.mode import buffers_kept
from toughen.models.outputs import logits_in
from toughen.numbers import Number
from toughen.random_state import seeded
from toughen.run import RunFolder
from toughen.run.hub import is_on_hub, repository, run_folder
from toughen.settings.description import default_name, describe
from toughen.settings.stored import stored_object
from toughen.threat import Norm, ThreatModel, as_threat


@dataclass(frozen=True)
class Subject:
    """What is evaluated, on which images, and where the result goes; no folder: nowhere."""

    network: nn.Module
    images: ImageSet
    threat: ThreatModel
    folder: RunFolder | None
    own: bool = False
    data: Any = None
    weights: Path | str | None = None
    described: Any = None
    source: RunFolder | None = None


def subject_in_hand(
    network: nn.Module, images: Any, labels: Any, given: dict[str, Any], threat: ThreatModel, out: str | None
) -> Subject:
    """A network and images that the caller holds."""
    for name in ("model", "weights"):
        if given[name] is not None:
            raise InputError(f"{name}: there is a network already; leave {name} away")
    data = given["data"]
    if (images is None) == (data is None):
        raise InputError(
            "images: expected evaluate(network, images, labels), evaluate(network, loader) or "
            "evaluate(network, data=...), and one of them"
        )
    found = image_set(images, labels) if data is None else images_of_split(data, "test", None)
    found = _with_classes_of(network, found) if data is None else found
    folder = None if out is None else RunFolder(out)
    if folder is not None:
        check_place(folder, own=False)
    told = {"images": len(found), "name": found.name} if data is None else data
    return Subject(network, found, threat, folder, data=told, described=describe(network))


def _with_classes_of(network: nn.Module, images: ImageSet) -> ImageSet:
    """The images with as many classes as the network has logits, where that can be seen and is more."""
    tensor = next((each for each in (*network.parameters(), *network.buffers())), torch.zeros(0))
    few = images.subset(torch.arange(min(2, len(images))))[0].to(tensor.device)
    with frozen(network, tensor.device) as still, buffers_kept(still), seeded(0), suppress(Exception):
        logits = logits_in(still(few))
        if logits.ndim == 2 and logits.shape[1] > len(images.classes):
            return replace(images, classes=tuple(map(str, range(logits.shape[1]))))
    return images


def subject_in_files(
    run: str | Path | None,
    model: Callable[..., nn.Module] | None,
    weights: str | None,
    data: DataSource | None,
    threat: ThreatModel | None,
    eps: Number | None,
    norm: Norm | None,
    out: str | None,
    normalize: str | None = None,
) -> Subject:
    """A run's network and test images, or those of a weights file and a data source."""
    if run is not None and not isinstance(run, str | Path):
        raise InputError(f"run: expected a run folder or a network (nn.Module), got {type(run).__name__}")
    weights = weights_of(model, weights) if run is None else weights
    _need_model(run, model, weights, data)
    source = None if run is None else run_folder(run)
    asked = threat is not None or (eps is not None and norm is not None)
    sections = {"model": model is None, "data": data is None, "threat": not asked}
    config = _read(source, [name for name, needed in sections.items() if needed])
    if threat is None:
        own_threat = _stored(source, config, "threat", ThreatModel) if "threat" in config else ThreatModel()
        if eps is not None or norm is not None:
            threat = as_threat(eps=eps, norm=own_threat.norm if norm is None else norm)
        threat = threat or own_threat
    here = None if is_on_hub(run) else run
    folder = RunFolder(out or here or f"runs/evaluate-{_name(run, model, weights)}")
    own = source is not None and folder.path.resolve() == source.path.resolve()
    check_place(folder, own)
    chosen = data if data is not None else _stored(source, config, "data", DataSource)
    path = None if weights in (None, "pretrained") else Path(str(weights))
    if weights is None and source is not None:
        source.require(source.model)
        path = source.model
    images = with_model_labels(images_of_split(chosen, "test", source), path, source if model is None else None)
    if model is None:
        network = _stored(source, config, "model", Callable[..., nn.Module])
        network, described = with_weights(network, Path(str(path))), config["model"]
        network = network if normalize is None else behind(network, normalize, images.shape[0])
    else:
        model = settled(model, images)
        loaded = weights if path is None else str(path)
        network, described = network_from(model, loaded, normalize, images), describe(model)
    if source is not None:
        source.warn_of_damage()
    return Subject(network, images, threat, folder, own, chosen, path or weights, described, source)


def _need_model(run: str | Path | None, model: Any, weights: str | None, data: DataSource | None) -> None:
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
    source.check_own_files()
    config = source.read_config()
    missing = [name for name in needed if not isinstance(config.get(name), dict)]
    if missing:
        raise RunError(
            f"{source.config} has no {', '.join(missing)}; expected the configuration of a run of "
            f"`toughen train`, or --{' --'.join(missing)}"
        )
    return config


def _stored(source: RunFolder | None, config: dict[str, Any], name: str, kind: Any) -> Any:
    assert source is not None  # whose configuration it is
    return stored_object(config, name, kind, source.config)


def _name(run: str | Path | None, model: Callable[..., nn.Module] | None, weights: str | None) -> str:
    if run is not None:
        return repository(str(run))[0].replace("/", "-")
    if weights in (None, "pretrained"):
        return type(model).__name__.lower() if isinstance(model, nn.Module) else default_name(model)
    return Path(str(weights)).stem
