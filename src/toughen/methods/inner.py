"""The inner maximum that several methods share."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from toughen.attacks import Ascent, attacked
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.losses import cross_entropy, kl_to
from toughen.threat import ThreatModel

Inner = Literal["kl", "ce"]
"""What an inner maximum raises: the KL from the clean output, or the cross-entropy of the label."""


def check_inner(inner: str) -> None:
    """Raise unless `inner` is one that we have.

    Raises:
        InputError: naming those that we have.
    """
    if inner not in get_args(Inner):
        raise InputError(f"method.inner: expected one of {', '.join(get_args(Inner))}, got {inner!r}")


def inner_maximum(
    model: nn.Module,
    batch: Batch,
    inner: Inner,
    attack: Ascent,
    threat: ThreatModel,
    generator: torch.Generator | None,
) -> Tensor:
    """`argmax KL(p_f(x) || p_f(x'))` (kl) or `argmax CE(f(x'), y)` (ce) over the threat model, by this ascent.

    The clean output is computed once, with the model in the same mode as during the ascent.
    """
    if inner == "ce":
        return attack.maximise(
            model, lambda logits: cross_entropy(logits, batch.labels), batch.images, threat, generator
        )
    with attacked(model, attack.mode), torch.no_grad():
        clean = model(batch.images)
    return attack.maximise(model, kl_to(clean), batch.images, threat, generator)
