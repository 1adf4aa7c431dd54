"""From a model, images and a threat model to a verdict an image and the figures that follow from them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toughen.attacks.base import AUDIT, OwnAttacks, PlannedAttack
from toughen.attacks.budgets import further_attacks
from toughen.data.source import ImageSet, Split
from toughen.evaluation.analyses.base import Analysis, AnalysisContext
from toughen.evaluation.audit import Audit
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.cost import cost_of
from toughen.evaluation.memory import Memory
from toughen.evaluation.plan import EvaluationPlan, prepare
from toughen.evaluation.progress import Pace, Progress, Step
from toughen.evaluation.records.batches import CLEAN, BatchResult
from toughen.evaluation.records.provenance import versions
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.spec import plain
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.result import Evaluation, summarise
from toughen.evaluation.settings import EvaluationSettings
from toughen.evaluation.unit import Units
from toughen.evaluation.verify import Clean, Outcome
from toughen.evaluation.whole import Whole, join
from toughen.models.deadline import Deadline, TimeUp
from toughen.models.inference import frozen
from toughen.random_state import seeded
from toughen.run import RunFolder
from toughen.threat import ThreatModel


def evaluate_model(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    settings: EvaluationSettings = EvaluationSettings(),
    *,
    transfer: Mapping[str, nn.Module] | None = None,
    attacks: OwnAttacks = (),
    split: Split = "test",
    shard: Shard = Shard(),
    folder: RunFolder | None = None,
    progress: Progress | None = None,
    keep_adversarial: bool = False,
    **changes: Any,
) -> Evaluation:
    """Attack a model with every attack of a budget and say on which images it held.

    The images are taken in batches; the attacks on a batch are seeded with `seed` plus the position of its first image,
    so a part of the evaluation gives the same rows as the whole. The model is judged in eval mode and fp32 and is left
    as it was.

    Args:
        model: images in [0, 1] to logits.
        images: the images to choose from, with their labels and classes.
        threat: what the attacker may do.
        settings: how it is evaluated.
        transfer: other models by name, whose adversarial images are shown to this one.
        attacks: attacks of one's own beside the budget's; see `own_attacks`.
        split: which split `images` is, for the record.
        shard: only a part of the batches, and of the analyses.
        folder: a run's folder, where verdicts are kept as they come, so that the same call goes on where another was
            killed. The result is not written there: see `Evaluation.save`.
        progress: told of each step.
        keep_adversarial: keep the images that the attacks ended with in `Evaluation.adversarial`.
        changes: settings by name, such as `budget="quick"`.

    Raises:
        InputError: images, labels or the model's outputs that do not fit each other; a setting out of range.
        RunError: the time was up before anything can be said, or the folder cannot be written.
    """
    plan = prepare(model, images, threat, settings, transfer=transfer, attacks=attacks, split=split, **changes)
    run = Runner(plan, shard, folder, progress, keep_adversarial=keep_adversarial)
    return run.carry_out().summary()


class Runner:
    """An evaluation that is carried out: the attacks batch by batch, then the analyses, and what follows a doubt.

    Args:
        plan: what is evaluated.
        shard: only a part of the batches, and of the analyses.
        folder: where verdicts are kept as they come; what it holds already is not computed again.
        progress: told of each step.
        time_limit: in seconds; default the settings'.
        begun: one of several processes has looked already whether what the folder holds may be used.
        keep_adversarial: keep the images that the attacks ended with; batches that the folder holds are computed again.
    """

    def __init__(
        self,
        plan: EvaluationPlan,
        shard: Shard = Shard(),
        folder: RunFolder | None = None,
        progress: Progress | None = None,
        *,
        time_limit: float | None = None,
        begun: bool = False,
        keep_adversarial: bool = False,
    ) -> None:
        self.plan, self.shard, self._progress, self._keep = plan, shard, progress, keep_adversarial
        self.deadline = Deadline(plan.settings.time_limit if time_limit is None else time_limit)
        self.memory = Memory(self.deadline, plan)
        self.store = None if folder is None else VerdictStore(folder, plan.spec)
        self.batches: list[BatchResult] = []
        self.analyses: dict[str, Any] = {}
        self.adversarial: list[Tensor] = []
        self._numbers = [number for number in range(plan.spec.batches) if shard.takes(number)]
        self._images = sum(map(plan.spec.images_in, self._numbers))
        self._late = ""
        about = {"versions": versions(plan.device), "shard": str(shard) if shard.count > 1 else None}
        self._units = Units(plan, self.memory, about)
        if self.store is not None:
            if not begun:
                self.store.begin()
            if shard.count > 1:
                self.store.plan(shard, {analysis.name: plain(analysis.settings()) for analysis in plan.analyses})

    def carry_out(self) -> "Runner":
        """Compute what is not there yet, until the time is up."""
        plan = self.plan
        with frozen(plan.model, plan.device) as judged:
            try:
                self.batches.extend(self._attacked(judged))
                for number, analysis in enumerate(plan.analyses):
                    if self.shard.takes(number):
                        self._say(Step(self._images, self._images, analysis.name, None))
                        self.analyses[analysis.name] = self.analyse(judged, analysis)
                if self.store is not None:
                    # What an earlier call found stays found, whether or not this one asks for it.
                    asked = {analysis.name for analysis in plan.analyses}
                    self.analyses |= {name: note for name, note in self.store.notes().items() if name not in asked}
                if self.plan.audit is not None and self.shard.count == 1:
                    self._audit(judged, self.plan.audit)
                if self._doubted():
                    self.batches.extend(self._further(judged))
                self._say(Step(self._images, self._images, "", 0.0))
            except TimeUp:
                self._late = f"time limit of {self.deadline.seconds:g} s"
        return self

    def summary(self) -> Evaluation:
        """Its table and figures; see `summarise`."""
        reason = self._late or (f"shard {self.shard}" if self.shard.count > 1 else "")
        skipped = [analysis.name for analysis in self.plan.analyses if analysis.name not in self.analyses]
        found = summarise(self.plan.spec, self.batches, analyses=self.analyses, skipped=skipped, reason=reason)
        return replace(found, adversarial=torch.cat(self.adversarial)) if self.adversarial else found

    def analyse(self, model: nn.Module, analysis: Analysis) -> dict[str, Any]:
        """What an analysis finds, with its settings; from disk where it was run with the same ones."""
        plan, settings = self.plan, plain(analysis.settings())
        noted = None if self.store is None else self.store.noted(analysis.name)
        if noted is not None and noted["settings"] == settings:
            return noted
        seed = plan.settings.seed

        def found(model: nn.Module) -> dict[str, Any]:
            context = AnalysisContext(
                model, plan.images, plan.indices, plan.threat, plan.attacks, seed, plan.spec.size, plan.device
            )
            with seeded(seed):
                return analysis.run(context)

        facts = {"settings": settings, **self.memory.enough_for(found, model)}
        if self.store is not None:
            self.store.note(analysis.name, facts)
        return facts

    def _say(self, step: Step) -> None:
        if self._progress is not None:
            self._progress(step)

    def _attacked(self, model: nn.Module) -> Iterator[BatchResult]:
        """Every batch of the shard under every attack, from disk or computed, as it comes."""
        spec, attacks = self.plan.spec, (None, *self.plan.attacks)
        told, done, pace, left = False, 0, Pace(list(spec.attacks)), dict.fromkeys(spec.attacks, self._images)
        for number in self._numbers:
            size = spec.images_in(number)
            stored = {} if self._keep else {name: self._stored(number, name) for name in (CLEAN, *spec.attacks)}
            clean = None if stored and all(stored.values()) else self._clean(model, number)
            survivors: Tensor | None = None
            if self._keep and clean is not None:
                self.adversarial.append(clean.batch.images.cpu().clone())
            for name, attack in zip((CLEAN, *spec.attacks), attacks, strict=True):
                result = stored.get(name)
                if result is None:
                    assert clean is not None  # something was missing
                    if attack is not None:
                        self.deadline.check()
                        cost = cost_of(self.plan, self._images) if self._progress and not told else None
                        told = True
                        self._say(Step(done, self._images, name, pace.left(left), cost))
                    result = self._compute(model, number, attack, clean, survivors)
                held = torch.from_numpy(result.held.copy())
                survivors = held if survivors is None else survivors & held
                if attack is not None:
                    pace.took(name, size, result.seconds)
                    left[name] -= size
                yield result
            done += size

    def _audit(self, model: nn.Module, attack: PlannedAttack) -> None:
        """AutoAttack on a sample of what the others left, part by part, until it is enough.

        What the folder holds of it counts whether or not it is due: a doubt that came later may have stopped the audit.
        """
        there = [] if self.store is None else self.store.audited()
        audit = join(self.plan.spec, [*self.batches, *there], self.analyses).audit
        assert audit is not None  # all batches are there
        for part in audit.units:
            self.batches.append(self._audited(model, attack, audit, part.batch) if self._keep else part)
        while (number := self._joined().due_of_audit) is not None:
            self.batches.append(self._audited(model, attack, audit, number))

    def _audited(self, model: nn.Module, attack: PlannedAttack, audit: Audit, number: int) -> BatchResult:
        """A part of the audit, computed."""
        self.deadline.check()
        self._say(Step(self.plan.spec.n, self.plan.spec.n, AUDIT, None))
        rows = torch.from_numpy(audit.parts[number])
        position = sum(map(len, audit.parts[:number]))
        clean = self._units.clean(model, rows, position)
        part, outcome = self._units.attacked(model, number, attack, clean, None, position, pictures=False)
        self._take(rows, outcome, outcome.attacked)
        self._write(part)
        return part

    def _further(self, model: nn.Module) -> Iterator[BatchResult]:
        """Attacks without gradients on what the others left: the figure is doubted, and the lower one is reported."""
        for batch in self._joined().batches:
            number = batch[0].batch
            survivors = torch.from_numpy(np.logical_and.reduce([result.held for result in batch]))
            clean = self._clean(model, number)
            for attack in further_attacks(self.plan.spec.protocol):
                result = None if self._keep else self._stored(number, attack.name)
                if result is None:
                    self.deadline.check()
                    self._say(Step(self.plan.spec.n, self.plan.spec.n, attack.name, None))
                    result = self._compute(model, number, attack, clean, survivors)
                survivors = survivors & torch.from_numpy(result.held.copy())
                yield result

    def _joined(self) -> Whole:
        return join(self.plan.spec, self.batches, self.analyses)

    def _doubted(self) -> bool:
        """Whether the figure, as it stands, is not to be believed; of a shard only the preflight can tell."""
        if self.batches and self.shard.count == 1:
            return bool(self._joined().doubts)
        return bool(reasons({"preflight": [finding.plain() for finding in self.plan.spec.findings]}))

    def _stored(self, number: int, name: str) -> BatchResult | None:
        return None if self.store is None else self.store.read(number, name)

    def _write(self, unit: BatchResult) -> None:
        if self.store is not None:
            self.store.write(unit)

    def _rows(self, number: int) -> Tensor:
        return torch.arange(len(self.plan.indices)).split(self.plan.spec.size)[number]

    def _clean(self, model: nn.Module, number: int) -> Clean:
        return self._units.clean(model, self._rows(number), number * self.plan.spec.size)

    def _compute(
        self, model: nn.Module, number: int, attack: PlannedAttack | None, clean: Clean, survivors: Tensor | None
    ) -> BatchResult:
        """A batch under one attack or none."""
        position = number * self.plan.spec.size
        if attack is None:
            result = self._units.unattacked(number, clean)
        else:
            result, outcome = self._units.attacked(model, number, attack, clean, survivors, position)
            if survivors is not None:
                self._take(self._rows(number), outcome, survivors & outcome.attacked)
        self._write(result)
        return result

    def _take(self, rows: Tensor, outcome: Outcome, tried: Tensor) -> None:
        """Keep the images that an attack ended with, where they are wanted."""
        if self._keep:
            of_shard = {number: place for place, number in enumerate(self._numbers)}
            for row, image in zip(rows[tried].tolist(), outcome.adversarial[tried], strict=True):
                number, place = divmod(row, self.plan.spec.size)
                self.adversarial[of_shard[number]][place] = image


def analyse(plan: EvaluationPlan, analyses: Sequence[Analysis], *, time_limit: float | None = None) -> dict[str, Any]:
    """What analyses find of a model whose attacks are done, by name; those that the time was enough for."""
    run, found = Runner(plan, time_limit=time_limit), {}
    with frozen(plan.model, plan.device) as judged, suppress(TimeUp):
        for analysis in analyses:
            found[analysis.name] = run.analyse(judged, analysis)
    return found
