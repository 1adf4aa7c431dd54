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
from toughen.models.linearised import linearised, rounds
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
    if attack.starts_near and attack.restarts == 1 and not attack.keep_best and rounds(model):
        return _from_next_to_clean(model, batch.images, attack, threat, generator)
    objective = kl_from_clean(model, batch.images, attack)
    return attack.maximise(model, objective, batch.images, threat, generator, vanishing=True)


def _from_next_to_clean(
    model: nn.Module, images: Tensor, attack: GradientAttack, threat: ThreatModel, generator: torch.Generator | None
) -> Tensor:
    """The same on a replica in bf16, where all that the KL is at the start would be rounding.

    The first gradient is that of the KL to the clean logits z at `z + J (x' - x)`, see `linearised`; in fp32 it would
    cost twice the time on a CPU, and far more on a GPU.
    """
    start = attack.initial(images, threat, generator)
    with attacked(model, attack.mode):
        clean, change, pulled_back = linearised(model, images, start)
        objective, logits = kl_to(clean), (clean + change).requires_grad_()
        with torch.enable_grad():
            (direction,) = torch.autograd.grad(objective(logits).sum(), logits)
        gradient = pulled_back(direction)
    return attack.maximise(model, objective, images, threat, generator, initial=start, first=gradient)


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
