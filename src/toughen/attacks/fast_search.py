"""Attacks that search on a faster copy of the model; the verdict is always the model's own, in fp32."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from toughen.attacks.autoattack import AutoAttack
from toughen.attacks.base import Attack, AttackResult, CalledAttack, PlannedAttack
from toughen.attacks.square import Square
from toughen.attacks.transfer import Transfer
from toughen.errors import InputError, did_you_mean
from toughen.hardware import precision as hardware
from toughen.models.inference import classes_of
from toughen.models.replica import Replicas, Search
from toughen.threat import ThreatModel

SearchPrecision = Literal["auto", "fp32", "folded", "bf16"]
"""fp32: attacks as published, bit for bit; folded: their search on a copy of the model with BatchNorm folded into the
convolutions, every broken image checked on the model in fp32; bf16: that copy in bf16; auto: bf16 where this hardware
computes faster in it and the threat model is not too fine for it, else folded."""

FINEST = 1 / 255
"""The l-inf radius below which bf16 rounds an attack's steps away (its numbers below 1 are up to 1/256 apart)."""


def choose_search(
    name: SearchPrecision, device: torch.device, threat: ThreatModel, flops: Callable[[], float]
) -> Literal["fp32", "folded", "bf16"]:
    """The precision that is meant.

    Args:
        name: what was asked for.
        device: where the search computes.
        threat: what the attacker may do. In l2 and l1 each pixel changes too little for auto to be bf16.
        flops: of a forward pass on one image; see `toughen.hardware.precision.choose_precision`.

    Raises:
        InputError: an unknown name, or bf16 on a GPU that has to emulate it.
    """
    if name not in get_args(SearchPrecision):
        raise InputError(f"precision: unknown {name!r}; {did_you_mean(str(name), get_args(SearchPrecision))}")
    if name == "auto":
        coarse = threat.bounds_each_pixel and threat.radius >= FINEST
        return "bf16" if coarse and hardware.choose_precision("auto", device, flops) == "bf16" else "folded"
    if name == "bf16" and device.type == "cuda" and not hardware.native_bf16(device):
        raise InputError(f"precision: {device} has no bf16 of its own, which would only be slower; use folded")
    return name


@dataclass(frozen=True)
class FastSearch(Attack):
    """An attack whose search runs on a copy of the model; see `Replicas`. Attacks without gradients: `for_queries`.

    1. The attack runs against the copy; perturbations, projections and losses are in fp32. AutoAttack and Square leave
       images that are out of their reach (`lean`).
    2. Each image that it broke there is classified by the model. Where that is right, the image is attacked again, from
       the start, as published.
    """

    attack: Attack
    replicas: Replicas

    @property
    def composite(self) -> bool:  # type: ignore[override]
        """The attack's own."""
        return self.attack.composite

    @property
    def lean(self) -> Attack:
        """The attack's lean form, where it has one."""
        return replace(self.attack, lean=True) if isinstance(self.attack, AutoAttack | Square) else self.attack

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """Those of the search's attack, and what it searches on."""
        return {**self.lean.settings(threat), "search": self.replicas.search}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> AttackResult:
        """Attack one batch."""
        seed, search = generator.initial_seed(), self.replicas.of(model, images)
        first = self.lean.run(search, images, labels, threat, generator)
        broken = ~first.held if first.held is not None else classes_of(search, first.adversarial) != labels
        wrong = classes_of(model, first.adversarial) != labels
        again = broken & ~wrong
        rows = again.nonzero().squeeze(1)
        if not len(rows):
            return replace(first, held=~wrong)
        fresh = torch.Generator(images.device).manual_seed(seed)
        second = self.attack.run(model, images[rows], labels[rows], threat, fresh)
        held = ~wrong
        held[rows] = classes_of(model, second.adversarial) == labels[rows] if second.held is None else second.held
        adversarial = first.adversarial.index_copy(0, rows, second.adversarial)
        broken_by = first.broken_by and list(first.broken_by)
        if broken_by and second.broken_by:
            for row, name in zip(rows.tolist(), second.broken_by, strict=True):
                broken_by[row] = name
        return AttackResult(adversarial, held, broken_by, first.warnings + second.warnings, len(rows))


def in_precision(attacks: tuple[PlannedAttack, ...], precision: Literal["fp32"] | Search) -> tuple[PlannedAttack, ...]:
    """The attacks with their search in this precision; a transfer does not search on the judged model, and an
    attack of the user's own gets the model itself."""
    if precision == "fp32":
        return attacks
    replicas = Replicas(precision)
    return tuple(
        each
        if isinstance(each.attack, Transfer | CalledAttack)
        else replace(each, attack=FastSearch(each.attack, replicas))
        for each in attacks
    )
