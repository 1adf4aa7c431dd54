"""The attacks of an evaluation, by how much computing it may take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from toughen.attacks import FGSM, PGD
from toughen.config import describe
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.autoattack import auto_attack, plan
from toughen.threat import ThreatModel

Budget = Literal["quick", "standard"]
"""quick: FGSM and PGD-20 on the margin with 5 restarts; standard: FGSM, PGD-20 and AutoAttack standard."""


@dataclass(frozen=True)
class Attempt:
    """What an attack made of a batch.

    Attributes:
        adversarial: perturbed images, like the clean ones.
        held: the attack's own verdict, bool (N,), where it gives one.
        broken_by: for an attack of several components, which of them broke each image.
        warnings: doubts that arose on the way.
    """

    adversarial: Tensor
    held: Tensor | None = None
    broken_by: list[str | None] | None = None
    warnings: tuple[str, ...] = ()


class NamedAttack(Protocol):
    """An attack of an evaluation, with the name of its columns and its part of the protocol."""

    @property
    def name(self) -> str:
        """Column of the verdict table and key of the result."""

    @property
    def composite(self) -> bool:
        """Whether it says which of its components broke an image."""

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Everything that is needed to run it again, as plain data."""

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> Attempt:
        """Attack one batch; all randomness comes from `generator`."""


@dataclass(frozen=True)
class Gradient:
    """A one-line name for a `PGD` with settings."""

    name: str
    attack: PGD
    composite: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's class and settings, with the step size that holds in this threat model."""
        described = describe(self.attack)
        steps = {"steps": self.attack.steps, "step_size": self.attack.step_size_under(threat)}
        return {"attack": type(self.attack).__name__, **described["init_args"], **steps}

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> Attempt:
        """Attack one batch."""
        return Attempt(self.attack(model, images, labels, threat, generator))


@dataclass(frozen=True)
class Ensemble:
    """AutoAttack standard, seeded with the generator's own seed."""

    num_classes: int
    name: str = "autoattack"
    composite: bool = True

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Components and target counts; `standard` says whether figures compare with RobustBench's."""
        chosen = plan(threat.norm, self.num_classes)
        return {
            "attack": "AutoAttack",
            "library": "pyautoattack",
            "standard": chosen.standard,
            "components": list(chosen.components),
            "apgd_targets": chosen.apgd_targets,
            "fab_targets": chosen.fab_targets,
            "seed": "evaluation seed + position of the batch's first image",
        }

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> Attempt:
        """Attack one batch."""
        seed = generator.initial_seed()
        result = auto_attack(model, images, labels, threat, seed=seed, num_classes=self.num_classes)
        return Attempt(result.adversarial, result.held, result.broken_by, result.warnings)


_FGSM = Gradient("fgsm", FGSM())
_BUDGETS: dict[Budget, Callable[[int], tuple[NamedAttack, ...]]] = {
    "quick": lambda _: (
        _FGSM,
        Gradient("pgd20_margin", PGD(steps=20, restarts=5, keep_best=True, loss="margin")),
    ),
    "standard": lambda num_classes: (
        _FGSM,
        Gradient("pgd20", PGD(steps=20, keep_best=True)),
        Ensemble(num_classes),
    ),
}


def attacks_of(budget: Budget, num_classes: int) -> tuple[NamedAttack, ...]:
    """The attacks of a budget, weakest first.

    Raises:
        InputError: an unknown budget.

    >>> [attack.name for attack in attacks_of("standard", 10)]
    ['fgsm', 'pgd20', 'autoattack']
    """
    if budget not in get_args(Budget):
        raise InputError(f"budget: unknown {budget!r}; {did_you_mean(str(budget), get_args(Budget))}")
    return _BUDGETS[budget](num_classes)
