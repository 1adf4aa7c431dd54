"""Catastrophic overfitting: how it shows on held-out images, and what keeps a run from it."""

import copy
import math
from dataclasses import replace
from typing import Any

import torch

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.methods import Method
from toughen.training.validation import Validation

NOISE = 2.0
"""Radius of a larger start's noise in units of eps: that of N-FGSM (de Jorge et al. 2022), at no cost."""
LOOKED_AT = 128
"""Held-out images of a look within an epoch: enough to tell a collapse, and as much work as a few steps."""
FEW_STEPS = 3
"""Attacks of so many steps at most are watched within an epoch too; longer ones hardly ever collapse."""


def collapsed(figures: Validation, best: float) -> bool:
    """Whether PGD accuracy has collapsed while FGSM accuracy stayed.

    It is below half of the best and below half of FGSM's, each by more than three standard deviations of an accuracy
    over so many images.

    Args:
        figures: accuracies now.
        best: the best PGD accuracy so far, over as many images.

    >>> [collapsed(Validation(0.8, pgd, True, fgsm, 128), best=0.4) for pgd, fgsm in ((0.02, 0.5), (0.02, 0.03))]
    [True, False]
    """
    if figures.fgsm is None or 2 * figures.pgd >= min(best, figures.fgsm):
        return False
    return all(
        value - figures.pgd > 3 * math.sqrt(value * (1 - value) / figures.images) for value in (best, figures.fgsm)
    )


def spread(batches: list[Batch], count: int) -> Batch:
    """About `count` of the images of these batches, at equal distances, as one batch."""
    every = max(1, sum(map(len, batches)) // count)
    images, labels = (torch.cat([getattr(batch, name) for batch in batches])[::every] for name in ("images", "labels"))
    return Batch(images, labels)


class Cure:
    """What a run that collapsed does otherwise from its last good checkpoint on; more after every further collapse.

    After the first one the attack starts from images with noise of 2 eps, so that perturbations are as large as
    N-FGSM's; after each further one it also has twice as many steps as before.

    Args:
        method: whose attack is changed.
    """

    def __init__(self, method: Method) -> None:
        self.method, self.level = method, 0

    @property
    def possible(self) -> bool:
        """Whether the method has an attack that can be changed."""
        return isinstance(getattr(self.method, "attack", None), GradientAttack)

    def set_attack(self) -> None:
        """Change the attack that the method has for this epoch."""
        changed: Any = self.method
        if self.level > 1:
            longer = copy.copy(changed.attack)
            longer.steps, longer.step_size = self.steps(longer.steps), None
            changed.attack = longer

    def steps(self, steps: int) -> int:
        """Steps of an attack that had `steps` before."""
        return int(steps * 2 ** max(0, self.level - 1))

    def batch(self, batch: Batch) -> Batch:
        """The batch as the attack is to see it."""
        if self.level == 0:
            return batch
        noisy = self.method.threat.scaled(NOISE).random_start(batch.images, self.method.generator)
        return replace(batch, images=noisy)

    @property
    def kind(self) -> str:
        """What it changes of a step's cost, in words."""
        return f", {self.steps(1)} times the attack's steps" if self.level > 1 else ""

    def __str__(self) -> str:
        noise = f"the attack starts from noise of {NOISE:g} eps"
        return noise if self.level < 2 else f"{noise} and has {2 ** (self.level - 1)} times its steps"
