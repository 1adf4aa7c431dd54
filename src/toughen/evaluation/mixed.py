"""Attacks that search in bf16; the verdict is always fp32."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from toughen.errors import InputError, did_you_mean
from toughen.evaluation.inference import predict
from toughen.evaluation.named import Attempt, NamedAttack
from toughen.evaluation.transfer import Transfer
from toughen.threat import ThreatModel

SearchPrecision = Literal["auto", "fp32", "bf16"]
"""fp32: attacks as published; bf16: their search under autocast, every broken image checked in fp32; auto: fp32."""


def choose_precision(name: SearchPrecision, device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision that is meant.

    Raises:
        InputError: an unknown name, or bf16 on a GPU that has to emulate it.
    """
    if name not in get_args(SearchPrecision):
        raise InputError(f"precision: unknown {name!r}; {did_you_mean(str(name), get_args(SearchPrecision))}")
    emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bf16" and emulated:
        raise InputError(f"precision: {device} has no bf16 of its own, which would only be slower; use fp32")
    return "bf16" if name == "bf16" else "fp32"


class InBf16(nn.Module):
    """A model whose passes run under bf16 autocast; images go in and logits come out in fp32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits, fp32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits = self.model(images)
        return logits.float()


@dataclass(frozen=True)
class Mixed:
    """An attack whose search runs in bf16.

    1. The attack runs against the model under bf16 autocast; perturbations, projections and losses stay fp32.
    2. Each image that it broke there is classified in fp32. Where that is right, the image is attacked again, from
       the start, in fp32.
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

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's own, and the search's precision."""
        return {**self.attack.settings(threat), "search": "bf16"}

    def run(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Attempt:
        """Attack one batch."""
        seed, search = generator.initial_seed(), InBf16(model)
        first = self.attack.run(search, images, labels, threat, generator)
        broken = ~first.held if first.held is not None else predict(search, first.adversarial) != labels
        wrong = predict(model, first.adversarial) != labels
        again = broken & ~wrong
        rows = again.nonzero().squeeze(1)
        if not len(rows):
            return replace(first, held=~wrong)
        fresh = torch.Generator(images.device).manual_seed(seed)
        second = self.attack.run(model, images[rows], labels[rows], threat, fresh)
        held = ~wrong
        held[rows] = predict(model, second.adversarial) == labels[rows] if second.held is None else second.held
        adversarial = first.adversarial.index_copy(0, rows, second.adversarial)
        broken_by = first.broken_by and list(first.broken_by)
        if broken_by and second.broken_by:
            for row, name in zip(rows.tolist(), second.broken_by, strict=True):
                broken_by[row] = name
        return Attempt(adversarial, held, broken_by, first.warnings + second.warnings, len(rows))


def in_precision(attacks: tuple[NamedAttack, ...], precision: Literal["fp32", "bf16"]) -> tuple[NamedAttack, ...]:
    """The attacks with their search in this precision; a transfer does not search on the judged model."""
    if precision == "fp32":
        return attacks
    return tuple(attack if isinstance(attack, Transfer) else Mixed(attack) for attack in attacks)
