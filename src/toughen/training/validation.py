"""Clean and robust accuracy on the validation split, after every epoch."""

from dataclasses import dataclass

import torch
from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.models.mode import evaluating
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Validation:
    """What held-out images say of a network.

    Attributes:
        clean: accuracy on them, 0 to 1.
        pgd: accuracy under PGD-10.
        finite: whether all logits were.
    """

    clean: float
    pgd: float
    finite: bool


def validate(model: nn.Module, batches: list[Batch], threat: ThreatModel, seed: int = 0) -> Validation:
    """Accuracy on clean images and under PGD-10 of the same batches.

    The attack's random start is the same in every epoch, so that epochs can be compared. Cheap on purpose: it chooses
    a checkpoint; what is reported comes from the evaluation.
    """
    attack = PGD(steps=10)
    clean = robust = count = 0
    finite = True
    with evaluating(model):
        for batch in batches:
            generator = torch.Generator(batch.images.device).manual_seed(seed)
            adversarial = attack(model, batch.images, batch.labels, threat, generator)
            with torch.no_grad():
                logits, attacked = model(batch.images), model(adversarial)
                right, held = (each.argmax(1) == batch.labels for each in (logits, attacked))
            clean += int(right.sum())
            robust += int((right & held).sum())
            finite = finite and bool(logits.isfinite().all() and attacked.isfinite().all())
            count += len(batch)
    return Validation(clean / count, robust / count, finite)
