"""Clean and robust accuracy on the validation split, after every epoch."""

from dataclasses import dataclass

import torch
from torch import nn

from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.models.mode import evaluating
from toughen.random_state import own_random_state
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Validation:
    """What held-out images say of a network.

    Attributes:
        clean: accuracy on them, 0 to 1.
        pgd: accuracy under PGD-10.
        finite: whether all logits were.
        fgsm: accuracy under FGSM; None where it was not asked for.
        images: how many there were.
    """

    clean: float
    pgd: float
    finite: bool
    fgsm: float | None
    images: int


def validate(
    model: nn.Module, batches: list[Batch], threat: ThreatModel, seed: int = 0, fgsm: bool = False
) -> Validation:
    """Accuracy on clean images and under PGD-10, and FGSM where asked, of the same batches.

    The attack's random start is the same in every epoch, so that epochs can be compared. Cheap on purpose: it chooses
    a checkpoint; what is reported comes from the evaluation.
    """
    attack = PGD(steps=10)
    clean = robust = one_step = count = 0
    finite = True
    with evaluating(model):
        for batch in batches:
            generator = torch.Generator(batch.images.device).manual_seed(seed)
            adversarial = attack(model, batch.images, batch.labels, threat, generator)
            with torch.no_grad():
                logits, attacked = model(batch.images), model(adversarial)
                right, held = (each.argmax(1) == batch.labels for each in (logits, attacked))
            if fgsm:
                with own_random_state():  # a model may draw: what comes after is the same with and without this
                    stepped = FGSM()(model, batch.images, batch.labels, threat, generator)
                    with torch.no_grad():
                        one_step += int((right & (model(stepped).argmax(1) == batch.labels)).sum())
            clean += int(right.sum())
            robust += int((right & held).sum())
            finite = finite and bool(logits.isfinite().all() and attacked.isfinite().all())
            count += len(batch)
    return Validation(clean / count, robust / count, finite, one_step / count if fgsm else None, count)


def score(clean: float, robust: float, defends: bool) -> float:
    """What a checkpoint is chosen by: robust accuracy, or clean where no method defends; among equals the other."""
    return robust + clean / 1000 if defends else clean + robust / 1000
