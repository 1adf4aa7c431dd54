"""Adversarial images of another model, shown to the one that is judged."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult, PlannedAttack
from toughen.attacks.pgd import PGD
from toughen.errors import InputError
from toughen.models.build import check_outputs
from toughen.models.deadline import asked_like
from toughen.models.facts import model_facts
from toughen.models.inference import frozen
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Transfer(Attack):
    """PGD-50 against another model: a black-box attack, for the judged model is never asked for anything.

    It keeps its last point and goes on after it has fooled its own model, because images deep in the wrong class
    transfer better.

    Attributes:
        source: the model that the images are crafted on.
        of: its name.
    """

    source: nn.Module
    of: str = "another model"

    @cached_property
    def attack(self) -> PGD:
        """What is run against the source."""
        return PGD(steps=50)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return model_facts(self.source)

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack on the source, and which weights the source has."""
        attack = self.attack.settings(threat)
        return {
            **attack,
            "attack": "transfer",
            "crafted_by": attack["attack"],
            "source": self.of,
            **_prefixed(self._facts),
        }

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch of the source, which is asked as `model` would be: in parts, and within a time limit."""
        with frozen(self.source, images.device) as source:
            return self.attack.run(asked_like(model, source), images, labels, threat, generator)


def transfers(models: Mapping[str, nn.Module]) -> tuple[PlannedAttack, ...]:
    """A transfer attack from each model, by its name; its column is `transfer_` and what a column may be called."""
    return tuple(
        PlannedAttack("transfer_" + re.sub(r"[^\w-]+", "_", name), Transfer(model, name))
        for name, model in models.items()
    )


def check_source(name: str, model: nn.Module, images: Tensor, num_classes: int) -> None:
    """Raise unless a model can be attacked on these images.

    Raises:
        InputError: naming the model.
    """
    try:
        with frozen(model, images.device) as source:
            check_outputs(source, images, num_classes)
    except InputError as error:
        raise InputError(f"transfer from {name}: {error}") from error


def _prefixed(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {f"source_{name}": value for name, value in facts.items()}


def short_names(paths: Iterable[str]) -> list[str]:
    """The last part of each path, or all of it where two end alike.

    >>> short_names(["runs/arr", "runs/trades"]), short_names(["a/run", "b/run"])
    (['arr', 'trades'], ['a/run', 'b/run'])
    """
    given = [path.rstrip("/") for path in paths]
    last = [path.rpartition("/")[2] for path in given]
    return [name if last.count(name) == 1 else path for name, path in zip(last, given, strict=True)]
