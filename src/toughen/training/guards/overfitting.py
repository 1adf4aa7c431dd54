"""Robust overfitting (Rice et al. 2020): held-out robust accuracy falls while the training loss goes on falling."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Peak:
    """The epoch with the best robust accuracy so far.

    Attributes:
        epoch: its number, from 1.
        robust: PGD accuracy on held-out images, in 0 .. 1.
        loss: the training loss of that epoch.
    """

    epoch: int
    robust: float
    loss: float

    def overfits(self, robust: float, loss: float, images: int) -> bool:
        """Whether a later epoch with these figures has fitted the training images at the held-out ones' cost.

        Its accuracy is lower by more than three standard deviations of an accuracy over so many images, its loss lower.

        >>> peak = Peak(12, robust=0.5, loss=1.5)
        >>> [peak.overfits(robust, loss, images=1000) for robust, loss in ((0.42, 1.2), (0.48, 1.2), (0.42, 1.6))]
        [True, False, False]
        """
        return loss < self.loss and self.robust - robust > 3 * math.sqrt(self.robust * (1 - self.robust) / images)
