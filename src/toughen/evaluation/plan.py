"""An evaluation before its first attack: everything is settled, checked and hashed."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from toughen.attacks.base import OwnAttacks, PlannedAttack, own_attacks
from toughen.attacks.budgets import attacks_of, audit_attack
from toughen.attacks.eot import Averaged, in_the_mean
from toughen.attacks.fast_search import SearchPrecision, choose_search, in_precision
from toughen.attacks.transfer import check_source, transfers
from toughen.batch import Batch
from toughen.data.order import order_by_class, sample_by_class
from toughen.data.source import ImageSet, Split
from toughen.errors import InputError, ToughenWarning, did_you_mean
from toughen.evaluation.analyses.base import Analysis
from toughen.evaluation.checks.reattack import SelfChecks
from toughen.evaluation.preflight import SAMPLE, Finding, ModelState, PreflightContext, preflight
from toughen.evaluation.records.probe import of_own_draws, probe
from toughen.evaluation.records.provenance import data_facts
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.settings import EvaluationSettings, Sample
from toughen.hardware.device import find_device
from toughen.hardware.memory import largest_batch
from toughen.models import check_outputs, forward_flops
from toughen.models.facts import model_facts
from toughen.models.inference import frozen
from toughen.models.input_gradients import Blind, Inside, Recomputed
from toughen.models.mode import buffers_kept
from toughen.models.outputs import giving_logits
from toughen.models.state import check_values, copied
from toughen.random_state import seeded
from toughen.threat import ThreatModel


def choose_images(labels: Tensor, test_images: int | None, sample: Sample, seed: int) -> Tensor:
    """Which images of a split are evaluated, in which order: int64 (n,).

    A sample of n is the beginning of one of m > n, for a random one with the same seed.

    Raises:
        InputError: an empty split, no image asked for or more than there are, an unknown way to sample.

    >>> labels = torch.tensor([0] * 10 + [1] * 10)
    >>> [labels[choose_images(labels, 4, sample, seed=0)].sort().values.tolist() for sample in ("by_class", "first")]
    [[0, 0, 1, 1], [0, 0, 0, 0]]
    """
    if sample not in get_args(Sample):
        raise InputError(f"sample: unknown {sample!r}; {did_you_mean(str(sample), get_args(Sample))}")
    n_total = len(labels)
    n = n_total if test_images is None else test_images
    if not 1 <= n <= n_total:
        raise InputError(f"test_images: expected 1 .. {n_total} (the split has {n_total} images), got {n}")
    if sample == "first":
        return torch.arange(n)
    if sample == "by_class":
        return order_by_class(labels, seed=0)[:n]
    return torch.randperm(n_total, generator=torch.Generator().manual_seed(seed))[:n]


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation before its first attack: everything is settled and checked.

    Attributes:
        model: images in [0, 1] to logits.
        images: the split that images are taken from.
        threat: what the attacker may do.
        attacks: in the order in which they run.
        indices: places of the evaluated images in the split.
        device: where to compute.
        settings: what was asked for.
        spec: all of it as plain data, with its key.
        fresh: a copy of the model that was asked nothing; None where it cannot be copied.
        audit: what a sample of the images that the attacks left is shown; None where the budget has no audit.
    """

    model: nn.Module
    images: ImageSet
    threat: ThreatModel
    attacks: tuple[PlannedAttack, ...]
    indices: Tensor
    device: torch.device
    settings: EvaluationSettings
    spec: EvaluationSpec
    fresh: nn.Module | None = None
    audit: PlannedAttack | None = None

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """What is studied after the attacks: first what the checks need, where they are wanted."""
        return (*([SelfChecks()] if self.settings.checks else []), *self.settings.analyses)


def prepare(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    settings: EvaluationSettings = EvaluationSettings(),
    *,
    transfer: Mapping[str, nn.Module] | None = None,
    attacks: OwnAttacks = (),
    split: Split = "test",
    **changes: Any,
) -> EvaluationPlan:
    """Settle everything that an evaluation does, and look at the model for reasons not to believe its figures.

    The arguments are those of `evaluate_model`. Each doubt is a `ToughenWarning` too, before any long attack.

    Raises:
        InputError: images, labels or the model's outputs that do not fit each other; a setting out of range.
    """
    settings = settings.changed(**changes)
    batch_size, eot = settings.batch_size, settings.eot
    num_classes, where = len(images.classes), find_device(settings.device)
    chosen = choose_images(images.labels, settings.test_images, settings.sample, settings.seed)
    check_values(model)
    fresh = _copied(model)
    few = images.subset(chosen[:2])[0].to(where)
    given, facts = ModelState.of(model), model_facts(model)
    answering = _answering(model, few)
    if answering is not model:
        model, fresh = answering, _copied(answering)
    transfer = {name: _answering(source, few) for name, source in (transfer or {}).items()}
    with frozen(model, where) as still:
        search = _search(settings.precision, eot, where, threat, lambda: forward_flops(still, few, num_classes))
        if batch_size == "auto":
            check_outputs(still, few, num_classes)
            averaged = still if eot == 1 else Averaged(still, eot)
            batch_size = largest_batch(averaged, few[:1], len(chosen))
    planned = (*attacks_of(settings.budget, num_classes, threat.norm), *own_attacks(attacks), *transfers(transfer))
    planned, audits = (
        in_the_mean(in_precision(attacks, search), eot)
        for attacks in (planned, (audit_attack(num_classes),) if settings.budget == "fast" else ())
    )
    _check_columns([attack.name for attack in planned])
    settings = settings.changed(batch_size=batch_size, precision=search)
    protocol: dict[str, Any] = {
        "threat": {"norm": threat.norm, "eps": threat.radius},
        "attacks": {attack.name: attack.settings(threat) for attack in planned},
        "n": len(chosen),
        **{name: value for name, value in settings.protocol().items() if name != "test_images"},
        "data": data_facts(images, split, chosen.split(batch_size)),
        "model": facts,
    }
    audit = audits[0] if audits else None
    if audit is not None:
        protocol["audit"] |= {"attack": audit.settings(threat)}
    batch = _spread(images, chosen).to(where)
    with frozen(model, where) as still:
        looked_at = (batch.images, batch.labels, images.labels[chosen], images.labels, images.classes)
        context = PreflightContext(still, given, *looked_at, threat, batch_size, eot)
        findings = preflight(context)
        # The model was asked already: nothing is computed for this, but for a random one.
        answers = probe(context.logits, context.slopes.margin) if context.repeatable else of_own_draws()
        for name, source in transfer.items():
            check_source(name, source, batch.images[:batch_size], num_classes)
    for finding in findings:
        if finding.severity == "doubt":
            warnings.warn(finding.message, ToughenWarning, stacklevel=2)
    spec = EvaluationSpec(plain(protocol), findings, answers)
    attackable = _attackable(model, findings)
    return EvaluationPlan(attackable, images, threat, planned, chosen, where, settings, spec, fresh, audit)


def _check_columns(names: Sequence[str]) -> None:
    if not names:
        raise InputError("budget: none, and no attack beside it; name some attacks, or expected --budget quick")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"attacks: two of them give the column {twice[0]}; rename one of them, or its folder")


def _copied(model: nn.Module) -> nn.Module | None:
    """A copy with a state of its own; None, after a `ToughenWarning`, where the model does not let itself be copied."""
    try:
        return copied(model)
    except InputError as error:
        cause = error.__cause__ or error
        warnings.warn(
            f"the model cannot be copied ({type(cause).__name__}: {str(cause)[:80]}): verdicts are looked at again on "
            "the model itself, which does not show whether it remembers what it was asked",
            ToughenWarning,
            stacklevel=3,
        )
        return None


def _search(
    precision: SearchPrecision, eot: int, device: torch.device, threat: ThreatModel, flops: Callable[[], float]
) -> Literal["fp32", "folded", "bf16"]:
    """What attacks search in. A random model, which `eot` is for, has no copy that answers as it does."""
    if eot > 1 and precision in ("folded", "bf16"):
        raise InputError(
            f"precision: with eot {eot} attacks ask the model itself, so expected fp32 or auto, got {precision}"
        )
    search = choose_search(precision, device, threat, flops)
    return "fp32" if eot > 1 else search


def _answering(model: nn.Module, images: Tensor) -> nn.Module:
    """The model, or one that gives its logits alone; see `giving_logits`."""
    with frozen(model, images.device) as still, buffers_kept(still), seeded(0):
        alone = giving_logits(still, images)
    return model if alone is still else alone


def _spread(images: ImageSet, chosen: Tensor) -> Batch:
    """A few of the chosen images, drawn by class.

    Raises:
        InputError: images or labels that do not fit their contract.
    """
    seen = chosen[sample_by_class(images.labels[chosen], SAMPLE, seed=0)]
    batch = Batch(*images.subset(seen), seen)
    batch.check(len(images.classes))
    return batch


def _attackable(model: nn.Module, findings: tuple[Finding, ...]) -> nn.Module:
    """The model, with a gradient that attacks can use; see `attacks.gradients` and `Blind`."""
    names = {finding.name for finding in findings}
    if "not_differentiable" in names:
        return Blind(model)
    if "one_gradient_a_pass" in names:
        model = Recomputed(model)
    return Inside(model) if "flat_border" in names else model
