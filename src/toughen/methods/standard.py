"""Training without an adversary."""

from torch import nn

from toughen.batch import Batch
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms


class Standard(Method):
    """Standard training, no adversary: the baseline that every robust figure is compared with.

    `CE(f(x), y)`

    When to use it: as the baseline beside every robust figure, and as HAT's helper; it withstands nothing by itself.

    Source: no paper; cross-entropy on clean images.

    Deviations: none.

    Cost: 1 forward and 1 backward passes a step.
    """

    defends = False

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """The clean images."""
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy."""
        return {"ce": Term(cross_entropy(model(perturbed.images), batch.target))}
