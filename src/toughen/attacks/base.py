"""Attacks as an evaluation runs them: each with its name, its part of the protocol, and one batch at a time."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.attacks.autoattack import auto_attack, plan
from toughen.attacks.square import square_attack
from toughen.config import describe
from toughen.threat import ThreatModel

SURVIVORS = "what the attacks before it left"
"""In an attack's settings under `attacked`: its column then means held under it and under all attacks before it."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of a batch.

    Attributes:
        adversarial: perturbed images, like the clean ones.
        held: the attack's own verdict, bool (N,), where it gives one.
        broken_by: for an attack of several components, which of them broke each image.
        warnings: doubts that arose on the way.
        repeated: images that were attacked again as published, because the search on a copy had broken them in vain.
    """

    adversarial: Tensor
    held: Tensor | None = None
    broken_by: list[str | None] | None = None
    warnings: tuple[str, ...] = ()
    repeated: int = 0


class NamedAttack(Protocol):
    """An attack of an evaluation, with the name of its columns and its part of the protocol."""

    @property
    def name(self) -> str:
        """Column of the verdict table and key of the result."""

    @property
    def composite(self) -> bool:
        """Whether it says which of its components broke an image."""

    @property
    def survivors_only(self) -> bool:
        """Whether it sees only the images that the attacks before it left; see `SURVIVORS`."""

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Everything that is needed to run it again, as plain data; a change here makes verdicts new ones."""

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch; all randomness comes from `generator`."""


@dataclass(frozen=True)
class Wrapped:
    """Base of what runs an attack in another way; `settings` and `run` are up to it.

    Attributes:
        attack: the attack, whose name and place among the others stay.
    """

    attack: NamedAttack

    @property
    def name(self) -> str:
        """The attack's own."""
        return self.attack.name

    @property
    def composite(self) -> bool:
        """The attack's own."""
        return self.attack.composite

    @property
    def survivors_only(self) -> bool:
        """The attack's own."""
        return self.attack.survivors_only


@dataclass(frozen=True)
class Gradient:
    """A `PGD` with settings, under a name."""

    name: str
    attack: PGD
    survivors_only: bool = False
    composite: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's class and settings, with the step size that holds in this threat model."""
        described = describe(self.attack)
        steps = {"steps": self.attack.steps, "step_size": self.attack.step_size_under(threat)}
        return {"attack": type(self.attack).__name__, **described["init_args"], **steps, **seen(self.survivors_only)}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        return AttackResult(self.attack(model, images, labels, threat, generator))


@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack standard, seeded with the generator's own seed; `lean` as in `auto_attack`."""

    num_classes: int
    name: str = "autoattack"
    survivors_only: bool = False
    composite: bool = True
    lean: bool = False

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
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        seed = generator.initial_seed()
        result = auto_attack(model, images, labels, threat, seed=seed, num_classes=self.num_classes, lean=self.lean)
        return AttackResult(result.adversarial, result.held, result.broken_by, result.warnings)


@dataclass(frozen=True)
class Square:
    """Square (Andriushchenko et al. 2020), which sees logits and no gradient, with as many queries as asked for.

    `lean` as in `auto_attack`.
    """

    queries: int = 20_000
    name: str = "square"
    survivors_only: bool = True
    composite: bool = False
    lean: bool = False

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The number of queries, over which the schedule of the square's size is stretched."""
        return {
            "attack": "Square",
            "library": "pyautoattack",
            "queries": self.queries,
            "restarts": 1,
            "rescaled_schedule": True,
            **seen(self.survivors_only),
        }

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        seed = generator.initial_seed()
        return AttackResult(
            square_attack(model, images, labels, threat, queries=self.queries, seed=seed, lean=self.lean)
        )


def seen(survivors_only: bool) -> dict[str, str]:
    """The part of an attack's settings that says which images it was given."""
    return {"attacked": SURVIVORS} if survivors_only else {}
