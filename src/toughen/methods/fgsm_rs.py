"""FGSM-RS, fast adversarial training from a random start."""

from torch import nn

from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms


class FGSMRS(Method):
    """FGSM-RS (Wong 2020): adversarial training with one attack step from a random start; cheap, but it may collapse.

    `min CE(f(x'), y)` with `x' = project(x0 + 1.25 eps sign(grad CE(f(x0), y)))`, x0 uniform in the ball.

    Source: Wong et al., Fast Is Better than Free: Revisiting Adversarial Training, ICLR 2020. Published for CIFAR-10:
    step 1.25 eps = 10/255 in the l-inf ball of 8/255, PreActResNet-18, batch 128, learning rate 0.2 up and down
    once in 15 to 30 epochs.

    When to use it: as the cheapest baseline. At eps of 8/255 and above, or over many epochs, robust accuracy may
    suddenly fall to 0 while the accuracy on the training attack rises (catastrophic overfitting): the validation
    split shows it, and the checkpoint from before is the one that is reported.

    Deviation: the attack sees BatchNorm in eval mode; `attack.mode` train is the published code's way.

    Cost: 2 forward and 2 backward passes a step; standard training has 1 and 1.

    Args:
        attack: the inner maximum, one step on the label from a random start.
    """

    def __init__(self, attack: PGD = FGSM(start="uniform")) -> None:
        super().__init__()
        self.attack = of_kind("method.attack", attack, PGD)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy from a random start."""
        return Perturbed(self.attack.run(model, batch.images, batch.labels, self.threat, self.generator).adversarial)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the adversarial images."""
        return {"adversarial_ce": Term(cross_entropy(model(perturbed.images), batch.target))}
