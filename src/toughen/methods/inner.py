"""The inner maximum that several methods share."""

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack, attacked
from toughen.attacks.gradient import Objective
from toughen.batch import Batch
from toughen.losses import cross_entropy, kl_to
from toughen.models.fold import exactly
from toughen.threat import ThreatModel

Inner = Literal["kl", "ce"]
"""What an inner maximum raises: the KL from the clean output, or the cross-entropy of the label."""


def inner_maximum(
    model: nn.Module,
    batch: Batch,
    inner: Inner,
    attack: GradientAttack,
    threat: ThreatModel,
    generator: torch.Generator | None,
) -> Tensor:
    """`argmax KL(p_f(x) || p_f(x'))` (kl) or `argmax CE(f(x'), y)` (ce) over the threat model, by this ascent."""
    if inner == "ce":
        return attack.maximise(
            model, lambda logits: cross_entropy(logits, batch.labels), batch.images, threat, generator
        )
    objective = kl_from_clean(model, batch.images, attack)
    return attack.maximise(model, objective, batch.images, threat, generator, vanishing=True)


def kl_from_clean(model: nn.Module, images: Tensor, attack: GradientAttack) -> Objective:
    """`logits -> KL(p_model(x) || softmax(logits))`, what an ascent raises that needs no label."""
    return kl_to(clean_output(model, images, attack))


def clean_output(model: nn.Module, images: Tensor, attack: GradientAttack) -> Tensor:
    """Logits of the clean images, without gradient, for an ascent away from them.

    The model is in the same mode as during the ascent, and in fp32 where the ascent's first step is; see
    `GradientAttack.maximise`.
    """
    precision = exactly(model, images) if attack.starts_near else nullcontext()
    with attacked(model, attack.mode), torch.no_grad(), precision:
        return model(images)
