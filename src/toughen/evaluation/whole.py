"""The units of an evaluation put together: its table, and what there is to doubt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toughen.attacks.base import AUDIT, FURTHER
from toughen.attacks.budgets import further_attacks
from toughen.errors import RunError
from toughen.evaluation.audit import Audit
from toughen.evaluation.checks import run_checks
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.records.batches import CLEAN, BatchResult, join_batches
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.records.verdicts import Verdicts
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Whole:
    """What some units of an evaluation amount to.

    Attributes:
        spec: what was to be evaluated.
        batches: the batches in the table, each with its units in the order of the attacks, as `attacks` names them.
        attacks: the settings of those that are in the table, in order.
        further: those of them that followed a doubt.
        audit: as far as it is; None where the budget has none, or attacks before it are missing.
        verdicts: the table.
        again: how fresh copies judged the images; see `together`.
        checks: what `run_checks` says.
    """

    spec: EvaluationSpec
    batches: list[list[BatchResult]]
    attacks: Mapping[str, Any]
    further: tuple[str, ...]
    audit: Audit | None
    verdicts: Verdicts
    again: Mapping[str, Any]
    checks: Mapping[str, Any]

    @property
    def units(self) -> list[BatchResult]:
        """All that was computed for it."""
        by_batch = [unit for batch in self.batches for unit in batch if unit.name != AUDIT]
        return [*by_batch, *(() if self.audit is None else self.audit.units)]

    @property
    def doubts(self) -> list[dict[str, Any]]:
        """Reasons not to believe the figure; see `reasons`."""
        audit = {} if self.audit is None else {"audit": self.audit.facts(self.verdicts.robust())}
        return reasons({**self._of_attacks(), **audit})

    @property
    def due_of_audit(self) -> int | None:
        """Number of the audit's part that comes next; None where none does."""
        return None if self.audit is None else self.audit.next(bool(reasons(self._of_attacks())))

    @property
    def due(self) -> tuple[str, ...]:
        """The attacks that belong to the evaluation, those that a doubt asks for included."""
        begun = AUDIT in self.attacks or self.due_of_audit is not None
        audits = "audit" in self.spec.protocol and (self.audit is None or begun)
        return (*self.spec.attacks, *((AUDIT,) if audits else ()), *(FURTHER if self.doubts else ()))

    def _of_attacks(self) -> dict[str, Any]:
        """Those parts of a result that say what to doubt, but for the audit."""
        return {"preflight": [finding.plain() for finding in self.spec.findings], **self.checks}


def join(spec: EvaluationSpec, units: Sequence[BatchResult], analyses: Mapping[str, Any]) -> Whole:
    """Put units together, as far as they go; see `summarise`.

    Raises:
        RunError: no batch went through its first attack.
    """
    done: dict[int, dict[str, BatchResult]] = {}
    for unit in units:
        if unit.name != AUDIT:
            done.setdefault(unit.batch, {})[unit.name] = unit
    names, numbers = _finished(spec, done)
    attacks = {name: spec.protocol["attacks"][name] for name in names}
    further: tuple[str, ...] = ()
    audit = None
    if names == spec.attacks:
        if "audit" in spec.protocol and len(numbers) == spec.batches:
            audit = _audit(spec, done, [unit for unit in units if unit.name == AUDIT])
            if audit.units:
                attacks[AUDIT] = spec.protocol["audit"]["attack"]
        threat = ThreatModel(spec.protocol["threat"]["norm"], spec.protocol["threat"]["eps"])
        later = {attack.name: plain(attack.settings(threat)) for attack in further_attacks(spec.protocol)}
        further = tuple(name for name in later if all(name in done[number] for number in numbers))
        attacks |= {name: later[name] for name in further}
    batches = [[done[number][name] for name in (CLEAN, *attacks)] for number in numbers]
    verdicts = join_batches(batches, {**spec.protocol, "attacks": attacks})
    planned = [unit for batch in batches for unit in batch if unit.name in (CLEAN, *names)]
    again = together(spec, [*planned, *(() if audit is None else audit.units)])
    return Whole(spec, batches, attacks, further, audit, verdicts, again, run_checks(verdicts, analyses, again))


def together(spec: EvaluationSpec, units: Sequence[BatchResult]) -> dict[str, Any]:
    """How fresh copies judged the images of all attacks; see `judge_again`. `random` as in `EvaluationSpec`."""
    told = [unit.again for unit in units if unit.again]
    return {
        **{name: sum(each[name] for each in told) for name in ("n", "differ", "lost", "won")},
        "copied": all(each["copied"] for each in told),
        "random": spec.random,
    }


def _audit(spec: EvaluationSpec, done: Mapping[int, dict[str, BatchResult]], units: Sequence[BatchResult]) -> Audit:
    """The audit; where it has begun, its columns go to each batch's units."""
    in_order = [done[number] for number in sorted(done)]
    clean = [batch[CLEAN] for batch in in_order]
    indices = np.concatenate([unit.table["index"].to_numpy() for unit in clean])
    held = [np.logical_and.reduce([batch[name].held for name in spec.attacks]) for batch in in_order]
    audit = Audit.of(spec.protocol, indices, np.concatenate(held), units)
    if audit.units:
        table = audit.table(np.concatenate([unit.held for unit in clean]))
        for number, batch in enumerate(in_order):
            rows = table.slice(number * spec.size, spec.images_in(number)).combine_chunks()
            batch[AUDIT] = BatchResult(number, AUDIT, rows)
    return audit


def _finished(spec: EvaluationSpec, done: Mapping[int, Mapping[str, BatchResult]]) -> tuple[tuple[str, ...], list[int]]:
    for count in range(len(spec.attacks), 0, -1):
        names = spec.attacks[:count]
        numbers = [number for number in sorted(done) if done[number].keys() >= {CLEAN, *names}]
        if numbers:
            return names, numbers
    raise RunError(
        f"nothing can be said yet: no batch of {spec.size} images has gone through its first attack; give more "
        "time (--time_limit), or smaller batches (--batch_size)"
    )
