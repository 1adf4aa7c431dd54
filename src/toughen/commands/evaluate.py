"""Attack a model on test images, record a verdict an image, and write the report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from toughen.attacks.base import OwnAttacks
from toughen.attacks.transfer import short_names
from toughen.commands.evaluations.into_folder import finished, run_in
from toughen.commands.evaluations.subject import subject_in_files, subject_in_hand
from toughen.commands.images.classes import check_same_order
from toughen.commands.images.kept import keep_split_of
from toughen.contracts import check_arguments
from toughen.data.source import DataSource, ImageSet
from toughen.errors import InputError
from toughen.evaluation.plan import prepare
from toughen.evaluation.progress import Progress
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.requirement import Requirement
from toughen.evaluation.result import Evaluation
from toughen.evaluation.runner import Runner
from toughen.evaluation.settings import EvaluationSettings
from toughen.hardware.processes import Processes
from toughen.models.load import load_model
from toughen.numbers import Number
from toughen.reports.notebook import usual_progress
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.own_files import sources
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
    normalize: str | None = None,
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
        run: folder of a training run, or hf:ORG/NAME on the hub: its model, weights, data and threat model are used
            where none is given.
        images: with a network as `run`: N x C x H x W, float in [0, 1] or uint8; or a DataLoader, or anything else that
            gives pairs of images and labels.
        labels: whole numbers, (N,), where `images` does not give them.
        model: the network, as in `train`; needed without a run.
        weights: a file of weights for it, .safetensors or .pt, .pth, .ckpt; or pretrained: those that the network's
            library publishes, the default where the model's name names some. Needed without a run.
        normalize: the normalisation in front of weights that bring none, as in `train`; default what the weights'
            library knows, else none.
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
        out: folder for the result; default the run's folder, without one runs/evaluate-<name>.
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
    settings, progress = settings.changed(**changes), progress or usual_progress()
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
        given = {"model": model, "weights": weights, "normalize": normalize, "data": data}
        if isinstance(run, nn.Module):
            subject = subject_in_hand(run, images, labels, given, as_threat(threat, eps, norm), out)
        else:
            if images is not None or labels is not None:
                raise InputError(
                    f"images: they go with a network in hand: evaluate(network, images, labels), got {run!r:.60}"
                )
            subject = subject_in_files(run, model, weights, data, threat, eps, norm, out, normalize)
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
                config = {"model": subject.described, **describe(described)}
                subject.folder.write_config(config)
                subject.folder.write_code(sources(config))
                keep_split_of(subject.source, subject.folder)
            processes.wait()
            own = not subject.own or all(each is None for each in given.values())
            evaluation = run_in(
                subject.folder, plan, before, own=own, processes=processes, shard=part, progress=progress
            )
    return evaluation if requirement is None else replace(evaluation, requirement=requirement.judge(evaluation.result))


def _sources(transfer: list[str], images: ImageSet, by_name: bool) -> dict[str, nn.Module]:
    names = short_names(transfer)
    for path in transfer if by_name else []:  # images in hand have classes without names
        check_same_order(RunFolder(path), images.classes)
    return {name: load_model(RunFolder(path)) for name, path in zip(names, transfer, strict=True)}
