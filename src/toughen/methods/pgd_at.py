"""PGD adversarial training."""

from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms


class PGDAT(Method):
    """PGD-AT (Madry 2018): train on the images that an attack with the label finds.

    `min CE(f(x'), y)` with `x' = argmax CE(f(x'), y)`.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018. Published for
    CIFAR-10: uniform start, 10 steps of 2/255 in the l-inf ball of 8/255, which are the defaults.

    When to use it: as the reference of every comparison, and where robust accuracy matters more than clean accuracy or
    cost.

    Deviation: the attack sees BatchNorm in eval mode (`attack.mode`), so that statistics are those of one clean use.

    Cost: 11 forward and 11 backward passes a step; standard training has 1 and 1.

    Args:
        attack: the inner maximum, an attack on the label.
    """

    def __init__(self, attack: PGD = PGD(steps=10)) -> None:
        super().__init__()
        self.attack = of_kind("method.attack", attack, PGD)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that PGD on the label finds."""
        return Perturbed(self.attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the adversarial images."""
        return {"adversarial_ce": Term(cross_entropy(model(perturbed.images), batch.target))}
