"""From a model, images and a threat model to a verdict an image and the figures that follow from them."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toughen.attacks.base import NamedAttack
from toughen.attacks.budgets import Budget, further_attacks
from toughen.attacks.fast_search import SearchPrecision
from toughen.data.source import ImageSet, Split
from toughen.errors import InputError
from toughen.evaluation.analyses.base import Analysis, AnalysisContext
from toughen.evaluation.checks import run_checks
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.checks.reattack import with_self_checks
from toughen.evaluation.gallery import candidates
from toughen.evaluation.plan import BatchSize, EvaluationPlan, Sample, prepare
from toughen.evaluation.progress import Pace, Progress, Step
from toughen.evaluation.records.batches import CLEAN, BatchResult, attack_table, clean_table, join_units
from toughen.evaluation.records.provenance import versions
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.result import Evaluation, summarise, together
from toughen.evaluation.verify import Clean, Outcome, judge, judge_again, judge_clean
from toughen.models.deadline import Deadline, TimeUp
from toughen.models.inference import frozen
from toughen.random_state import seeded
from toughen.run import RunFolder
from toughen.threat import ThreatModel


def evaluate_model(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    budget: Budget = "standard",
    test_images: int | None = None,
    sample: Sample = "by_class",
    seed: int = 0,
    batch_size: BatchSize = 250,
    device: str | torch.device = "auto",
    precision: SearchPrecision = "fp32",
    eot: int = 1,
    transfer: Mapping[str, nn.Module] | None = None,
    split: Split = "test",
    analyses: Sequence[Analysis] = (),
    checks: bool = True,
    shard: Shard = Shard(),
    time_limit: float | None = None,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Attack a model with every attack of a budget and say on which images it held.

    The images are taken in batches of `batch_size`; the attacks on a batch are seeded with `seed` plus the
    position of its first image, so a part of the evaluation gives the same rows as the whole. The model is
    judged in eval mode and fp32 and is left as it was.

    Args:
        model: images in [0, 1] to logits.
        images: the images to choose from, with their labels and classes.
        threat: what the attacker may do.
        budget: quick, standard or thorough; see `Budget`.
        test_images: number of images, default all.
        sample: drawn by class, the first ones, or drawn at random by `seed`; see `Sample`.
        seed: of the attacks, and of a random sample.
        batch_size: images attacked together, or auto; see `BatchSize`.
        device: auto, cpu, cuda or cuda:N.
        precision: of the attacks' search; see `SearchPrecision`. The verdict is always fp32.
        eot: for a model that answers at random: attacks see the mean softmax of so many passes (see `EOT`); the
            verdict is one pass. With any eot, a random model's rows are as reproducible as another's.
        transfer: other models by name, whose adversarial images are shown to this one.
        split: which split `images` is, for the record.
        analyses: further studies of the model.
        checks: attack a hundred images again, weaker and stronger, for the checks of the attacks themselves; see
            `SelfChecks`. The checks that need no more than the verdicts are always made.
        shard: only a part of the batches, and of the analyses.
        time_limit: seconds after which the evaluation stops and says what it has; see `summarise`.
        folder: a run's folder, where verdicts are kept as they come, so that the same call goes on where another was
            killed. The result is not written there: see `Evaluation.save`.
        progress: told of each step.

    Raises:
        InputError: images, labels or the model's outputs that do not fit each other; a setting out of range.
        RunError: the time was up before anything can be said, or the folder cannot be written.
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
        precision=precision,
        eot=eot,
        transfer=transfer,
        split=split,
    )
    return carry_out(
        task,
        analyses=with_self_checks(analyses, checks),
        shard=shard,
        time_limit=time_limit,
        folder=folder,
        progress=progress,
    ).summary()


@dataclass(frozen=True)
class Work:
    """What has been computed of an evaluation.

    Attributes:
        outline: the evaluation.
        units: batches under attacks.
        analyses: what the analyses found, by name.
        skipped: names of those that did not run.
        reason: why something is missing, if anything is.
    """

    outline: EvaluationSpec
    units: tuple[BatchResult, ...]
    analyses: Mapping[str, Any]
    skipped: tuple[str, ...]
    reason: str

    def summary(self) -> Evaluation:
        """Its table and figures; see `summarise`."""
        return summarise(self.outline, self.units, analyses=self.analyses, skipped=self.skipped, reason=self.reason)


def carry_out(
    task: EvaluationPlan,
    *,
    analyses: Sequence[Analysis] = (),
    shard: Shard = Shard(),
    time_limit: float | None = None,
    folder: RunFolder | None = None,
    progress: Progress | None = None,
    begun: bool = False,
) -> Work:
    """Run the attacks and analyses that `folder` does not hold yet; the settings are those of `evaluate_model`.

    `begun` says that one of several processes has looked already whether what the folder holds may be used.
    """
    if time_limit is not None and time_limit <= 0:
        raise InputError(f"time_limit: expected a positive number of seconds, got {time_limit}")
    deadline = Deadline(time_limit)
    parts = None if folder is None else VerdictStore(folder, task.outline)
    if parts is not None:
        if not begun:
            parts.begin()
        if shard.count > 1:
            parts.plan(shard, {analysis.name: plain(analysis.settings()) for analysis in analyses})
    units: list[BatchResult] = []
    found: dict[str, Any] = {}
    reason = f"shard {shard}" if shard.count > 1 else ""
    with frozen(task.model, task.device) as judged:
        model = deadline.watching(judged)
        try:
            for unit in _units(task, model, parts, shard, deadline, progress):
                units.append(unit)
            images = sum(task.outline.images_in(each) for each in range(task.outline.batches) if shard.takes(each))
            for number, analysis in enumerate(analyses):
                if shard.takes(number):
                    if progress is not None:
                        progress(Step(images, images, analysis.name, None))
                    found[analysis.name] = _analyse(task, model, parts, analysis)
            if parts is not None:
                # What an earlier call found stays found, whether or not this one asks for it.
                asked = {analysis.name for analysis in analyses}
                found |= {name: note for name, note in parts.notes().items() if name not in asked}
            outline = task.outline
            doubted = [finding.plain() for finding in outline.findings]
            checked = (
                run_checks(_table(outline, units), found, together(outline, units))
                if units and shard.count == 1
                else {}
            )
            if reasons({"preflight": doubted, **checked}):
                for unit in _further(task, model, parts, units, deadline, progress):
                    units.append(unit)
            if progress is not None:
                progress(Step(images, images, "", 0.0))
        except TimeUp:
            reason = f"time limit of {deadline.seconds:g} s"
    skipped = tuple(analysis.name for analysis in analyses if analysis.name not in found)
    return Work(task.outline, tuple(units), found, skipped, reason)


def analyse(task: EvaluationPlan, analyses: Sequence[Analysis], *, time_limit: float | None = None) -> dict[str, Any]:
    """What analyses find of a model whose attacks are done, by name; those that the time was enough for."""
    deadline, found = Deadline(time_limit), {}
    with frozen(task.model, task.device) as judged, suppress(TimeUp):
        for analysis in analyses:
            found[analysis.name] = _analyse(task, deadline.watching(judged), None, analysis)
    return found


def _units(
    task: EvaluationPlan,
    model: nn.Module,
    parts: VerdictStore | None,
    shard: Shard,
    deadline: Deadline,
    progress: Progress | None,
) -> Iterator[BatchResult]:
    """Every unit of the shard, from disk or computed, as it comes."""
    outline = task.outline
    mine = [number for number in range(outline.batches) if shard.takes(number)]
    sizes = {number: outline.images_in(number) for number in mine}
    total, pace = sum(sizes.values()), Pace(list(outline.attacks))
    left = dict.fromkeys(outline.attacks, total)
    made_by = versions(task.device)
    for place, number in enumerate(mine):
        stored = {} if parts is None else {name: parts.read(number, name) for name in (CLEAN, *outline.attacks)}
        known = {name: unit for name, unit in stored.items() if unit is not None}
        clean = None if len(known) == 1 + len(task.attacks) else _clean(task, model, number)
        survivors: Tensor | None = None
        for name, attack in zip((CLEAN, *outline.attacks), (None, *task.attacks), strict=True):
            unit = known.get(name)
            if unit is None:
                assert clean is not None  # something was missing
                if attack is not None:
                    deadline.check()
                    if progress is not None:
                        done = sum(sizes[before] for before in mine[:place])
                        progress(Step(done, total, name, pace.left(left)))
                unit = _compute(task, model, number, attack, clean, survivors)
                unit = replace(unit, versions=made_by, shard=str(shard) if shard.count > 1 else None)
                if parts is not None:
                    parts.write(unit)
            held = torch.from_numpy(unit.held.copy())
            survivors = held if survivors is None else survivors & held
            if attack is not None:
                pace.took(name, sizes[number], unit.seconds)
                left[name] -= sizes[number]
            yield unit


def _table(outline: EvaluationSpec, units: Sequence[BatchResult]) -> Verdicts:
    """The verdicts of units as they come from `_units`."""
    size = 1 + len(outline.attacks)
    return join_units([units[start : start + size] for start in range(0, len(units), size)], outline.protocol)


def _further(
    task: EvaluationPlan,
    model: nn.Module,
    parts: VerdictStore | None,
    units: Sequence[BatchResult],
    deadline: Deadline,
    progress: Progress | None,
) -> Iterator[BatchResult]:
    """Attacks without gradients on what the evaluation left: the figure is doubted, and the lower one is reported."""
    outline, made_by = task.outline, versions(task.device)
    for number in dict.fromkeys(unit.batch for unit in units):
        mine = [unit for unit in units if unit.batch == number]
        survivors = torch.from_numpy(np.logical_and.reduce([unit.held for unit in mine]))
        clean = _clean(task, model, number)
        for attack in further_attacks(outline.protocol):
            unit = None if parts is None else parts.read(number, attack.name)
            if unit is None:
                deadline.check()
                if progress is not None:
                    progress(Step(outline.n, outline.n, attack.name, None))
                unit = _compute(task, model, number, attack, clean, survivors)
                unit = replace(unit, versions=made_by, shard=mine[0].shard)
                if parts is not None:
                    parts.write(unit)
            survivors = survivors & torch.from_numpy(unit.held.copy())
            yield unit


def _clean(task: EvaluationPlan, model: nn.Module, number: int) -> Clean:
    with seeded(task.seed + number * task.outline.size):
        return judge_clean(model, task.batch(number), task.device, task.eot)


def _compute(
    task: EvaluationPlan,
    model: nn.Module,
    number: int,
    attack: NamedAttack | None,
    clean: Clean,
    survivors: Tensor | None,
) -> BatchResult:
    position = number * task.outline.size
    indices = task.indices.split(task.outline.size)[number]
    if attack is None:
        return BatchResult(number, CLEAN, clean_table(clean, indices))
    seed = task.seed + position
    with seeded(seed):
        outcome = judge(model, clean, attack, task.threat, seed=seed, survivors=survivors, passes=task.eot)
    return BatchResult(
        number,
        attack.name,
        attack_table(attack.name, outcome, clean, indices),
        seconds=outcome.seconds,
        warnings=outcome.warnings,
        repeated=outcome.repeated,
        again=_again(task, model, clean, outcome, seed),
        pictures=candidates(position, clean, outcome),
    )


def _again(task: EvaluationPlan, model: nn.Module, clean: Clean, outcome: Outcome, seed: int) -> dict[str, int]:
    about = {"passes": task.eot, "seed": seed}
    if task.fresh is None:
        return judge_again(None, model, clean, outcome, random=task.outline.random, **about)
    # The copy is copied, so that each batch is the first that it sees.
    with frozen(copy.deepcopy(task.fresh), task.device) as fresh:
        return judge_again(fresh, model, clean, outcome, random=task.outline.random, **about)


def _analyse(task: EvaluationPlan, model: nn.Module, parts: VerdictStore | None, analysis: Analysis) -> dict[str, Any]:
    """What an analysis finds, with its settings; from disk where it was run with the same ones."""
    settings = plain(analysis.settings())
    noted = None if parts is None else parts.noted(analysis.name)
    if noted is not None and noted["settings"] == settings:
        return noted
    scene = AnalysisContext(
        model, task.images, task.indices, task.threat, task.attacks, task.seed, task.outline.size, task.device
    )
    with seeded(task.seed):
        facts = {"settings": settings, **analysis.run(scene)}
    if parts is not None:
        parts.note(analysis.name, facts)
    return facts
