"""Clean and robust accuracy on the validation split, after every epoch."""

import torch
from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.models.mode import evaluating
from toughen.threat import ThreatModel


def validate(model: nn.Module, batches: list[Batch], threat: ThreatModel, seed: int = 0) -> tuple[float, float]:
    """Accuracy on clean images and under PGD-10 of the same batches, each in 0 .. 1.

    The attack's random start is the same in every epoch, so that epochs can be compared. Cheap on purpose: it chooses
    a checkpoint; what is reported comes from the evaluation.
    """
    attack = PGD(steps=10)
    clean = robust = count = 0
    with evaluating(model):
        for batch in batches:
            generator = torch.Generator(batch.images.device).manual_seed(seed)
            adversarial = attack(model, batch.images, batch.labels, threat, generator)
            with torch.no_grad():
                right = model(batch.images).argmax(1) == batch.labels
                held = model(adversarial).argmax(1) == batch.labels
            clean += int(right.sum())
            robust += int((right & held).sum())
            count += len(batch)
    return clean / count, robust / count
