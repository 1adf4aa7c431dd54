"""AutoAttack (Croce & Hein 2020), run by pyautoattack component by component on one batch of images."""

import logging
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pyautoattack
import torch
from pyautoattack import checks
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult
from toughen.attacks.lean_fab import PROBE, LeanFAB, far
from toughen.attacks.lean_square import PARTS, REACH
from toughen.attacks.square import runnable
from toughen.errors import InputError
from toughen.models.build import PROBABILITIES
from toughen.models.inference import frozen
from toughen.models.input_gradients import FiniteGradients
from toughen.models.replica import for_queries
from toughen.random_state import own_random_state
from toughen.threat import Norm, ThreatModel

# What the library's own checks say, in words that need no file of its repository.
_MEANINGS = {
    "randomized defense": "two passes over the same images differ: the model is random, and AutoAttack "
    "standard overestimates its robustness",
    "dynamic defense": "the model computes gradients in its forward pass (a dynamic defence): AutoAttack "
    "standard may be insufficient",
    "probability distribution": PROBABILITIES,
    "zero gradient": "the gradient is zero for some images: gradient-based attacks are blind there, and the "
    "robust accuracy may be overestimated",
}


@dataclass(frozen=True)
class Plan:
    """Which components run, in this order, and against how many target classes.

    Attributes:
        components: names as in pyautoattack.
        apgd_targets: classes that APGD-T aims at.
        fab_targets: classes that FAB-T aims at.
        standard: whether this is AutoAttack standard exactly, as in RobustBench.
    """

    components: tuple[str, ...]
    apgd_targets: int
    fab_targets: int
    standard: bool


def plan(norm: Norm, num_classes: int) -> Plan:
    """AutoAttack standard, or what of it a small number of classes allows.

    Standard aims APGD-T and FAB-T at the 9 most likely wrong classes (APGD-T in l1: 5); with fewer classes
    than that needs, at all wrong ones. APGD-T's loss needs 4 logits, so with 3 classes APGD with the
    untargeted DLR loss takes its place, and with 2, where that loss does not exist either, nothing does.

    Raises:
        InputError: fewer than 2 classes.

    >>> plan("linf", 10)
    Plan(components=('apgd-ce', 'apgd-t', 'fab-t', 'square'), apgd_targets=9, fab_targets=9, standard=True)
    >>> plan("linf", 2).components
    ('apgd-ce', 'fab-t', 'square')
    """
    if num_classes < 2:
        raise InputError(f"AutoAttack: expected at least 2 classes, got {num_classes}")
    standard_targets = 5 if norm == "l1" else 9
    second = {2: (), 3: ("apgd-dlr",)}.get(num_classes, ("apgd-t",))
    targets = min(standard_targets, num_classes - 1) if "apgd-t" in second else 0
    fab_targets = min(9, num_classes - 1)
    exact = targets == standard_targets and fab_targets == 9
    return Plan(("apgd-ce", *second, "fab-t", "square"), targets, fab_targets, exact)


@dataclass(frozen=True)
class AutoAttack(Attack):
    """AutoAttack standard (Croce & Hein 2020), or what of it a small number of classes allows; see `plan`.

    Each component attacks the images that the earlier ones left. With 10 classes or more, images and verdicts are
    bit-identical to those of `pyautoattack.AutoAttack(model, norm=..., eps=..., seed=seed, version="standard",
    device=...).run_standard_evaluation(images, labels, batch_size=len(images))`, where `seed` is the generator's own,
    save for the sizes of `SquareOfAnySize`, on which the library ends in an error. The model is judged in eval mode and
    fp32; it and the global random number generators, which the library reseeds, are left as they were.

    Attributes:
        num_classes: number of logits; None: the model is asked.
        lean: `LeanFAB` and `LeanSquare`: nearly the same verdicts for less, but no longer bit for bit.
    """

    num_classes: int | None = None
    lean: bool = False
    composite: ClassVar[bool] = True

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Components and target counts; `standard` says whether figures compare with RobustBench's."""
        chosen = plan(threat.norm, self.num_classes or 10)
        return {
            "attack": "AutoAttack",
            "library": "pyautoattack",
            "standard": chosen.standard,
            "components": list(chosen.components),
            "apgd_targets": chosen.apgd_targets,
            "fab_targets": chosen.fab_targets,
            "seed": "evaluation seed + position of the batch's first image",
            **(
                {
                    "lean": {
                        "fab_probe": PROBE,
                        "fab_far": far(threat),
                        "square_parts": PARTS,
                        "square_reach": REACH,
                    }
                }
                if self.lean
                else {}
            ),
        }

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch: the clean image where nothing was found, or where it was misclassified already."""
        findings = _Findings()
        broken_by: list[str | None] = [None] * len(images)
        images = images.contiguous()
        adversarial = images.clone()
        with frozen(model, images.device) as still, own_random_state(), torch.no_grad():
            judged = FiniteGradients(still).train(False)
            chosen = plan(threat.norm, self.num_classes or judged(images[:1]).shape[1])
            attack = _attack(judged, threat, chosen, generator.initial_seed(), images.device, findings.logger)
            _check(judged, images, labels, findings.logger)
            held = judged(images).argmax(1) == labels
            _mark(broken_by, ~held, "clean")
            for name in chosen.components:
                left = held.nonzero().squeeze(1)
                if len(left) == 0:
                    break
                asked = for_queries(judged) if name == "square" else judged
                found = _component(attack, name, threat, self.lean).perturb(images[left], labels[left])
                broke = asked(found).argmax(1) != labels[left]
                adversarial[left[broke]] = found[broke]
                held[left[broke]] = False
                _mark(broken_by, left[broke], name)
        return AttackResult(adversarial, held, broken_by, findings.meanings())


def _attack(
    model: nn.Module,
    threat: ThreatModel,
    chosen: Plan,
    seed: int,
    device: torch.device,
    logger: logging.Logger,
) -> pyautoattack.AutoAttack:
    attack = pyautoattack.AutoAttack(
        model, norm=threat.library_norm, eps=threat.radius, seed=seed, version="standard", device=device
    )
    attack.apgd_targeted.n_target_classes = chosen.apgd_targets
    attack.fab.n_target_classes = chosen.fab_targets
    attack.apgd.logger = attack.apgd_targeted.logger = logger
    return attack


def _component(attack: pyautoattack.AutoAttack, name: str, threat: ThreatModel, lean: bool) -> Any:
    """The library's object for a component, set up as its own loop does."""
    if name in ("apgd-ce", "apgd-dlr"):
        attack.apgd.loss = name.removeprefix("apgd-")
        return attack.apgd
    if name == "fab-t":
        attack.fab.targeted = True
        return LeanFAB(attack.fab, threat) if lean else attack.fab
    if name == "square":
        attack.square.predict = for_queries(attack.square.predict)
        return runnable(attack.square, lean)
    return attack.apgd_targeted


def _check(model: nn.Module, images: Tensor, labels: Tensor, logger: logging.Logger) -> None:
    checks.check_randomized(model, images, labels, bs=len(images), logger=logger)
    checks.check_range_output(model, images, logger=logger)
    # The library counts gradient calls in a module-wide dict through the interpreter's trace hook: without
    # the reset one dynamic defence would mark every later model, without the hook's return debuggers and
    # coverage go blind.
    checks.funcs.update(dict.fromkeys(checks.funcs, 0))
    tracer = sys.gettrace()
    try:
        checks.check_dynamic(model, images, logger=logger)
    finally:
        sys.settrace(tracer)


def _mark(broken_by: list[str | None], where: Tensor, name: str) -> None:
    indices = where.nonzero().squeeze(1) if where.dtype == torch.bool else where
    for index in indices.tolist():
        broken_by[index] = name


class _Findings(logging.Handler):
    """Collects what the library's checks log, on a logger that nobody else sees."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.logger = logging.Logger("pyautoattack")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def meanings(self) -> tuple[str, ...]:
        """Each finding once, in this project's words where it has them."""
        told = [
            next((meaning for marker, meaning in _MEANINGS.items() if marker in message), message)
            for message in self.messages
        ]
        return tuple(dict.fromkeys(told))
