"""Attack a model on test images, record a verdict an image, and write the report."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toughen.attacks.base import OwnAttacks
from toughen.attacks.transfer import short_names
from toughen.commands.classes import check_same_order, with_model_labels
from toughen.commands.into_folder import check_place, finished, run_in
from toughen.contracts import check_arguments
from toughen.data.source import DataSource, ImageSet
from toughen.data.tensors import image_set
from toughen.errors import InputError, RunError
from toughen.evaluation.plan import prepare
from toughen.evaluation.progress import Progress
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.requirement import Requirement
from toughen.evaluation.result import Evaluation
from toughen.evaluation.runner import Runner
from toughen.evaluation.settings import EvaluationSettings
from toughen.hardware.processes import Processes
from toughen.models.build import build_model, with_facts
from toughen.models.inference import frozen
from toughen.models.load import load_model, with_weights
from toughen.models.mode import buffers_kept
from toughen.models.outputs import logits_in
from toughen.models.state import copied
from toughen.numbers import Number
from toughen.random_state import seeded
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.stored import stored_object
from toughen.settings.trust import obeying_trust
from toughen.threat import Norm, ThreatModel, as_threat


@obeying_trust
def evaluate(
    run: str | Path | nn.Module | None = None,
    images: Any = None,
    labels: Any = None,
    *,
    model: Callable[..., nn.Module] | None = None,
    weights: str | None = None,
    data: DataSource | None = None,
    threat: ThreatModel | None = None,
    eps: Number | None = None,
    norm: Norm | None = None,
    transfer: list[str] = [],  # noqa: B006 - never changed
    attacks: OwnAttacks = (),
    settings: EvaluationSettings = EvaluationSettings(),
    shard: str | None = None,
    require: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    trust: Sequence[str] = (),
    keep_adversarial: bool = False,
    progress: Progress | None = None,
    **changes: Any,
) -> Evaluation:
    """Attack a model on test images, record a verdict an image, and write the report.

    Evaluations of a run lie beside each other; none replaces another. The run's own result and report are those of the
    one that compares with RobustBench, or comes nearest to it.

    Verdicts are written as they come. The same call goes on where an earlier one was stopped, and gives what is there
    where that had finished; anything that verdicts depend on (weights, images, threat, attacks, seed, batch size) makes
    it another evaluation, which never uses them. Started by torchrun, each process takes a shard, and the first one
    joins and reports.

    With a network in hand, `evaluate(network, images, labels, eps="8/255")` needs no run and no data source, and writes
    nothing where `out` is not given.

    Args:
        run: folder of a training run: its model, weights, data and threat model are used where none is given.
        images: with a network as `run`: N x C x H x W, float in [0, 1] or uint8; or a DataLoader, or anything else that
            gives pairs of images and labels.
        labels: whole numbers, (N,), where `images` does not give them.
        model: the network, by class and settings; needed without a run.
        weights: a file of weights for it, .safetensors or .pt, .pth, .ckpt; needed without a run.
        data: the source whose test images are attacked; needed without a run.
        threat: what the attacker may do; default the run's, without a run l-inf 8/255.
        eps: radius of the threat model, in place of `threat`.
        norm: its norm; default the run's, without a run linf.
        transfer: run folders of other models, whose adversarial images are shown to this one too.
        attacks: attacks of one's own beside the budget's (with budget none: instead): a list, or a dict by name, of
            what can be called as (model, images, labels) or (model, images, labels, threat, generator).
        settings: how it is evaluated.
        shard: compute one of several parts, such as 2/3, and leave the rest to others; then `toughen merge`.
        require: what must be shown, such as 'robust >= 0.45 and checks', by the 95 % interval's worse end.
        out: folder for the result; default the run's folder, without a run runs/evaluate-<weights>.
        overwrite: compute the evaluation again where the folder has it already.
        trust: what the runs' files may name beside this package's classes and its libraries' networks, such as
            my_package.Net or my_package; their code is run.
        keep_adversarial: with a network in hand: keep the images that the attacks ended with.
        progress: called as an attack starts on a batch; the command line passes its progress bar.
        changes: settings by name, such as budget="quick".

    Returns:
        Evaluation: verdicts, result and a few images, which lie in the folder too, with report.html; and whether
        what was required was met. For a shard only its own part, of which the folder holds the verdicts.

    Raises:
        ToughenError: a setting, the model, the data or the folder is not usable; the message says what to do.
    """
    check_arguments(evaluate, {name: value for name, value in locals().items() if name != "run"})  # a network too
    settings = settings.changed(**changes)
    part = None if shard is None else Shard.parse(shard)
    if part is not None and require is not None:
        raise InputError("require: a shard is not the whole evaluation; use `toughen merge ... --require`")
    if keep_adversarial and (out is not None or not isinstance(run, nn.Module)):
        raise InputError("keep_adversarial: expected a network, images and labels, and no out; a folder has no images")
    if threat is not None:
        as_threat(threat, eps, norm)
    with Processes.from_environment() as processes:
        if part is not None and processes.size > 1:
            raise InputError("shard: torchrun's processes share the evaluation out by themselves; leave --shard away")
        for name in ("batch_size", "precision"):
            if getattr(settings, name) == "auto" and (part is not None or processes.size > 1):
                raise InputError(f"{name}: auto may differ between the parts of an evaluation; give all the same value")
        given = {"model": model, "weights": weights, "data": data}
        if isinstance(run, nn.Module):
            subject = _in_hand(run, images, labels, given, as_threat(threat, eps, norm), out)
        else:
            if images is not None or labels is not None:
                raise InputError(
                    f"images: they go with a network in hand: evaluate(network, images, labels), got {run!r:.60}"
                )
            subject = _in_files(run, model, weights, data, threat, eps, norm, out)
        plan = prepare(
            subject.network,
            subject.images,
            subject.threat,
            settings.changed(device=processes.device(settings.device)),
            transfer=_sources(transfer, subject.images, by_name=subject.folder is not None),
            attacks=attacks,
        )
        requirement = None if require is None else Requirement.parse(require, plan.spec.attacks)
        if part is not None and part.count > plan.spec.batches:
            raise InputError(
                f"shard: expected at most {plan.spec.batches} shards, one a batch of {plan.spec.size} images, "
                f"got {part}; or choose a smaller --batch_size"
            )
        if subject.folder is None:
            run_alone = Runner(plan, part or Shard(), progress=progress, keep_adversarial=keep_adversarial)
            evaluation = run_alone.carry_out().summary()
        else:
            before = None if part or overwrite else finished(subject.folder, plan.spec, processes)
            processes.wait()  # nobody writes before all have looked
            if processes.first and not subject.own:
                if before is None:
                    # First of all, so that the folder is known as an evaluation's however early a kill comes.
                    VerdictStore(subject.folder, plan.spec).begin()
                asked = {name: value for name, value in vars(plan.settings).items() if name != "time_limit"}
                described = {"data": subject.data, "threat": subject.threat, **asked, "device": settings.device}
                described |= {"transfer": transfer, "weights": subject.weights}
                subject.folder.write_config({"model": subject.described, **describe(described)})
            processes.wait()
            own = not subject.own or all(each is None for each in given.values())
            evaluation = run_in(
                subject.folder, plan, before, own=own, processes=processes, shard=part, progress=progress
            )
    return evaluation if requirement is None else replace(evaluation, requirement=requirement.judge(evaluation.result))


@dataclass(frozen=True)
class _Subject:
    """What is evaluated, on which images, and where the result goes; no folder: nowhere."""

    network: nn.Module
    images: ImageSet
    threat: ThreatModel
    folder: RunFolder | None
    own: bool = False
    data: Any = None
    weights: Path | None = None
    described: Any = None


def _in_hand(
    network: nn.Module, images: Any, labels: Any, given: dict[str, Any], threat: ThreatModel, out: str | None
) -> _Subject:
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
    found = image_set(images, labels) if data is None else data.load("test")
    found = _with_classes_of(network, found) if data is None else found
    folder = None if out is None else RunFolder(out)
    if folder is not None:
        check_place(folder, own=False)
    told = {"images": len(found), "name": found.name} if data is None else data
    return _Subject(network, found, threat, folder, data=told, described=describe(network))


def _with_classes_of(network: nn.Module, images: ImageSet) -> ImageSet:
    """The images with as many classes as the network has logits, where that can be seen and is more."""
    tensor = next((each for each in (*network.parameters(), *network.buffers())), torch.zeros(0))
    few = images.subset(torch.arange(min(2, len(images))))[0].to(tensor.device)
    with frozen(network, tensor.device) as still, buffers_kept(still), seeded(0), suppress(Exception):
        logits = logits_in(still(few))
        if logits.ndim == 2 and logits.shape[1] > len(images.classes):
            return replace(images, classes=tuple(map(str, range(logits.shape[1]))))
    return images


def _in_files(
    run: str | Path | None,
    model: Callable[..., nn.Module] | None,
    weights: str | None,
    data: DataSource | None,
    threat: ThreatModel | None,
    eps: Number | None,
    norm: Norm | None,
    out: str | None,
) -> _Subject:
    """A run's network and test images, or those of a weights file and a data source."""
    if run is not None and not isinstance(run, str | Path):
        raise InputError(f"run: expected a run folder or a network (nn.Module), got {type(run).__name__}")
    _need_model(run, model, weights, data)
    source = None if run is None else RunFolder(run)
    asked = threat is not None or (eps is not None and norm is not None)
    sections = {"model": model is None, "data": data is None, "threat": not asked}
    config = _read(source, [name for name, needed in sections.items() if needed])
    if threat is None:
        own_threat = _stored(source, config, "threat", ThreatModel) if "threat" in config else ThreatModel()
        if eps is not None or norm is not None:
            threat = as_threat(eps=eps, norm=own_threat.norm if norm is None else norm)
        threat = threat or own_threat
    folder = RunFolder(out or run or f"runs/evaluate-{_name(model, weights)}")
    own = source is not None and folder.path.resolve() == source.path.resolve()
    check_place(folder, own)
    chosen = data if data is not None else _stored(source, config, "data", DataSource)
    path = None if weights is None else Path(weights)
    if path is None and source is not None:
        source.require(source.model)
        path = source.model
    images = with_model_labels(chosen.load("test"), path, source if model is None else None)
    network = _network(model, path, source, config, images)
    return _Subject(network, images, threat, folder, own, chosen, path, _described(model, config, images))


def evaluate_into(
    folder: RunFolder,
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    settings: EvaluationSettings,
    *,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model that is at hand, and write verdicts, result, images and report into a folder.

    Evaluations of before stay. `processes` share the work and all call this; by default it is
    this process's alone.
    """
    plan = prepare(model, images, threat, settings)
    before = finished(folder, plan.spec, processes)
    if processes is not None:
        processes.wait()  # nobody writes before all have looked
    return run_in(folder, plan, before, processes=processes, progress=progress)


def _sources(transfer: list[str], images: ImageSet, by_name: bool) -> dict[str, nn.Module]:
    names = short_names(transfer)
    for path in transfer if by_name else []:  # images in hand have classes without names
        check_same_order(RunFolder(path), images.classes)
    return {name: load_model(RunFolder(path)) for name, path in zip(names, transfer, strict=True)}


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


def _name(model: Callable[..., nn.Module] | None, weights: str | None) -> str:
    return Path(weights).stem if weights is not None else type(model).__name__.lower()


def _described(model: Callable[..., nn.Module] | None, config: dict[str, Any], images: ImageSet) -> Any:
    if model is None:
        return config["model"]
    return describe(model if isinstance(model, nn.Module) else with_facts(model, len(images.classes), images.shape[0]))


def _network(
    model: Callable[..., nn.Module] | None,
    weights: Path | None,
    source: RunFolder | None,
    config: dict[str, Any],
    images: ImageSet,
) -> nn.Module:
    if model is None:
        network = _stored(source, config, "model", Callable[..., nn.Module])
    elif isinstance(model, nn.Module):
        network = copied(model)
    else:
        classes, channels = len(images.classes), images.shape[0]
        zeros, ones = [0.0] * channels, [1.0] * channels
        network = build_model(model, num_classes=classes, in_channels=channels, mean=zeros, std=ones)
    return network if weights is None else with_weights(network, weights)
