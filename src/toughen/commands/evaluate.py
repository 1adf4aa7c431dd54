"""Attack a model on test images, record a verdict an image, and write the report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toughen.attacks.transfer import short_names
from toughen.commands.classes import check_same_order, with_model_labels
from toughen.commands.into_folder import check_place, check_replaced, finished, run_in
from toughen.config import describe, instantiate
from toughen.data.source import DataSource, ImageSet
from toughen.errors import InputError, RunError
from toughen.evaluation import (
    Analysis,
    BatchSize,
    Budget,
    Evaluation,
    EvaluationPlan,
    Processes,
    Progress,
    Requirement,
    Sample,
    SearchPrecision,
    Shard,
    load_model,
    prepare,
    with_weights,
)
from toughen.evaluation.analyses.base import check_names
from toughen.evaluation.records.store import VerdictStore
from toughen.models.build import build_model, with_facts
from toughen.models.state import copied
from toughen.numbers import check_number
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
    transfer: list[str] = [],  # noqa: B006 - never changed
    test_images: int | None = None,
    sample: Sample = "by_class",
    seed: int = 0,
    batch_size: BatchSize = 250,
    precision: SearchPrecision = "fp32",
    eot: int = 1,
    checks: bool = True,
    analyses: list[Analysis] = [],  # noqa: B006 - never changed
    device: str = "auto",
    shard: str | None = None,
    time_limit: float | None = None,
    require: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Attack a model on test images, record a verdict an image, and write the report.

    Verdicts are written as they come. The same call goes on where an earlier one was stopped, and gives what is there
    where that had finished; anything that verdicts depend on (weights, images, threat, attacks, seed, batch size) makes
    it another evaluation, which never uses them. Started by torchrun, each process takes a shard, and the first one
    joins and reports.

    Args:
        run: folder of a training run: its model, weights, data and threat model are used where none is given.
        model: the network, by class and settings; needed without a run.
        weights: a .safetensors file for it; needed without a run.
        data: the source whose test images are attacked; needed without a run.
        threat: what the attacker may do; default the run's, without a run l-inf 8/255.
        budget: attacks to run: quick (FGSM, PGD-20), standard (FGSM, PGD-20, AutoAttack) or thorough (more of each).
        transfer: run folders of other models, whose adversarial images are shown to this one too.
        test_images: number of test images; default all.
        sample: which of them: by_class (like the whole set, the same for every seed), first, or random (by the seed).
        seed: of the attacks, and of a random sample.
        batch_size: images attacked together, or auto for as many as fit. The seeds are those of batches, so figures
            compare image by image at the same size only; auto may find another the next time, and then begins anew.
        precision: of the attacks' search: fp32 (as published, bit for bit), folded or bf16 (on a faster copy of the
            model, every broken image checked in fp32), or auto (the faster of these two).
        eot: for a model that answers at random, attack the mean of so many passes, such as 20.
        checks: attack 100 images again, weaker and stronger, to check that the attacks can be believed.
        analyses: further studies, such as EpsCurve,Corruptions; those that the folder has are not made again.
        device: auto, cpu, cuda or cuda:1.
        shard: compute one of several parts, such as 2/3, and leave the rest to others; then `toughen merge`.
        time_limit: seconds after which it reports what it has, as incomplete; the same call goes on from there.
        require: what must be shown, such as 'robust >= 0.45 and checks', by the 95 % interval's worse end.
        out: folder for the result; default the run's folder, without a run runs/evaluate-<weights>.
        overwrite: replace the result of another evaluation in that folder, or compute the same one again.
        progress: called as an attack starts on a batch; the command line passes its progress bar.

    Returns:
        Evaluation: verdicts, result and a few images, which lie in the folder too, with report.html; and the ruling
        where something was required. For a shard only its own part, of which the folder holds the verdicts.

    Raises:
        ToughenError: a setting, the model, the data or the folder is not usable; the message says what to do.
    """
    _need_model(run, model, weights, data)
    check_names(analyses)
    for setting, count, least in (("test_images", test_images, 1), ("seed", seed, 0), ("eot", eot, 1)):
        if count is not None:
            check_number(setting, count, least=least, whole=True)
    if batch_size != "auto":
        check_number("batch_size", batch_size, least=1, whole=True)
    if time_limit is not None:
        check_number("time_limit", time_limit, "seconds", above=0)
    part = None if shard is None else Shard.parse(shard)
    if part is not None and require is not None:
        raise InputError("require: a shard is not the whole evaluation; use `toughen merge ... --require`")
    source = None if run is None else RunFolder(run)
    sections = {"model": model, "data": data, "threat": threat}
    config = _read(source, [name for name, value in sections.items() if value is None])
    folder = RunFolder(out or run or f"runs/evaluate-{_name(model, weights)}")
    own = source is not None and folder.path.resolve() == source.path.resolve()
    with Processes.from_environment() as crew:
        if part is not None and crew.size > 1:
            raise InputError("shard: torchrun's processes share the evaluation out by themselves; leave --shard away")
        check_place(folder, own)
        chosen_data = data if data is not None else instantiate(config["data"])
        chosen_threat = threat if threat is not None else ThreatModel(**config.get("threat", {}))
        path = None if weights is None else Path(weights)
        if path is None and source is not None:
            source.require(source.model)
            path = source.model
        images = with_model_labels(chosen_data.load("test"), path, source if model is None else None)
        settings: dict[str, Any] = {
            "budget": budget,
            "test_images": test_images,
            "sample": sample,
            "seed": seed,
            "batch_size": batch_size,
            "precision": precision,
            "eot": eot,
        }
        for name, value in (("batch_size", batch_size), ("precision", precision)):
            if value == "auto" and (part is not None or crew.size > 1):
                raise InputError(f"{name}: auto may differ between the parts of an evaluation; give all the same value")
        task = prepare(
            _network(model, path, config, images),
            images,
            chosen_threat,
            device=crew.device(device),
            transfer=_sources(transfer, images),
            **settings,
        )
        requirement = None if require is None else Requirement.parse(require, task.outline.attacks)
        if part is not None and part.count > task.outline.batches:
            raise InputError(
                f"shard: expected at most {task.outline.batches} shards, one a batch of {task.outline.size} images, "
                f"got {part}; or choose a smaller --batch_size"
            )
        before = None if part else _earlier(folder, task, overwrite, crew)
        crew.wait()  # nobody writes before all have looked
        if crew.first and not own:
            if before is None:
                # First of all, so that the folder is known as an evaluation's however early a kill comes.
                VerdictStore(folder, task.outline).begin()
            settings |= {
                "transfer": transfer,
                "analyses": analyses,
                "checks": checks,
                "device": device,
                "weights": path,
            }
            # What auto found: elsewhere it might find another, and be another evaluation.
            settings |= {name: task.outline.protocol[name] for name in ("batch_size", "precision")}
            described = {"data": chosen_data, "threat": chosen_threat, **settings}
            folder.write_config({"model": _described(model, config, images), **describe(described)})
        crew.wait()
        evaluation = run_in(
            folder,
            task,
            before,
            crew=crew,
            shard=part,
            analyses=analyses,
            checks=checks,
            time_limit=time_limit,
            progress=progress,
        )
    return evaluation if requirement is None else replace(evaluation, ruling=requirement.judge(evaluation.result))


def evaluate_into(
    folder: RunFolder,
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    budget: Budget = "standard",
    test_images: int | None = None,
    sample: Sample = "by_class",
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = "auto",
    crew: Processes | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model that is at hand, and write verdicts, result, images and report into a folder.

    The settings are those of `evaluate`. An earlier result is replaced, unless it is the same evaluation's. The work is
    shared by the processes of `crew`, which all call this; by default it is this process's alone.
    """
    task = prepare(
        model,
        images,
        threat,
        budget=budget,
        test_images=test_images,
        sample=sample,
        seed=seed,
        batch_size=batch_size,
        device=device,
    )
    before = finished(folder, task.outline, crew)
    if crew is not None:
        crew.wait()  # nobody writes before all have looked
    return run_in(folder, task, before, crew=crew, progress=progress)


def _earlier(folder: RunFolder, task: EvaluationPlan, overwrite: bool, crew: Processes) -> Evaluation | None:
    if overwrite:
        return None
    check_replaced(folder, task.outline)
    return finished(folder, task.outline, crew)


def _sources(transfer: list[str], images: ImageSet) -> dict[str, nn.Module]:
    names = short_names(transfer)
    for path in transfer:
        check_same_order(RunFolder(path), images.classes)
    return {name: load_model(RunFolder(path)) for name, path in zip(names, transfer, strict=True)}


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


def _name(model: Callable[..., nn.Module] | None, weights: str | None) -> str:
    return Path(weights).stem if weights is not None else type(model).__name__.lower()


def _described(model: Callable[..., nn.Module] | None, config: dict[str, Any], images: ImageSet) -> Any:
    if model is None:
        return config["model"]
    return describe(model if isinstance(model, nn.Module) else with_facts(model, len(images.classes), images.shape[0]))


def _network(
    model: Callable[..., nn.Module] | None, weights: Path | None, config: dict[str, Any], images: ImageSet
) -> nn.Module:
    if model is None:
        network = instantiate(config["model"])
    elif isinstance(model, nn.Module):
        network = copied(model)
    else:
        classes, channels = len(images.classes), images.shape[0]
        zeros, ones = [0.0] * channels, [1.0] * channels
        network = build_model(model, num_classes=classes, in_channels=channels, mean=zeros, std=ones)
    return network if weights is None else with_weights(network, weights)
