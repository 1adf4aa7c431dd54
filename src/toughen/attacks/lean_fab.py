"""FAB-T (Croce & Hein 2020) on a ball, without the steps towards boundaries that lie far outside it."""

import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from toughen.attacks.fab import without_sorting
from toughen.threat import ThreatModel

PROBE = 0.2
"""Share of the steps after which the nearest image yet tells how near the boundary is."""


def far(threat: ThreatModel) -> float:
    """Radii that it may lie off, to be followed; see decision 17 for how much nearer the other steps bring it."""
    return 1.5 if threat.bounds_each_pixel else 2.5


class LeanFAB:
    """The library's FAB-T with its settings, `without_sorting`, for those who ask only whether an image breaks.

    FAB looks for the nearest image over the boundary, however far it lies. Towards each class it takes `PROBE` of its
    steps. An image with a misclassified one in the ball is broken; one whose nearest lies beyond `far` radii is left
    as it is; any other, and each for which nothing is found, goes through all steps from the start, as in the library.

    Args:
        attack: the library's object; targeted, with one restart, which draws nothing at random.
        threat: the ball.
    """

    def __init__(self, attack: FABAttack_PT, threat: ThreatModel) -> None:
        self.attack, self.threat = without_sorting(attack), threat

    def perturb(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, like the given ones where nothing was found in the ball."""
        attack, adversarial = self.attack, images.clone()
        steps = attack.n_iter
        holds = attack.predict(images).argmax(1) == labels
        try:
            for target in range(2, attack.n_target_classes + 2):
                attack.target_class = target
                wanted = holds
                for attack.n_iter in (max(1, round(PROBE * steps)), steps):
                    rows = wanted.nonzero().squeeze(1)
                    if not len(rows):
                        break
                    distance = self._broken(adversarial, images, labels, rows)
                    holds[rows[distance <= attack.eps]] = False
                    near = (distance > attack.eps) & ((distance < far(self.threat) * attack.eps) | distance.isinf())
                    wanted = torch.zeros_like(holds).index_fill(0, rows[near], True)
        finally:
            attack.n_iter = steps
        return adversarial

    def _broken(self, adversarial: Tensor, images: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Distances of the nearest misclassified images, infinite where none is found; those in the ball are kept."""
        clean = images[rows]
        found = self.attack.attack_single_run(clean, labels[rows], is_targeted=True)
        distance = self.threat.norm_of(found - clean)
        distance[self.attack.predict(found).argmax(1) == labels[rows]] = torch.inf
        inside = distance <= self.attack.eps
        adversarial[rows[inside]] = found[inside]
        return distance
