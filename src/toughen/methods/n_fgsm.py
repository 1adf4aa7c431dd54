"""N-FGSM, one attack step from a noisy image."""

from torch import Tensor, nn

from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.numbers import check_number
from toughen.threat import ThreatModel


class NFGSM(Method):
    """N-FGSM (de Jorge 2022): one attack step from a strongly noisy image, not projected, which prevents collapse.

    `min CE(f(x'), y)` with `x' = x0 + eps sign(grad CE(f(x0), y))`, `x0 = x + u`, u uniform in the ball of k eps, both
    clipped to [0, 1].

    The perturbation may leave the threat model: its size is up to (k + 1) eps, 3 eps by default. Training alone is
    meant to see that much; evaluation keeps to eps.

    Source: de Jorge et al., Make Some Noise: Reliable and Efficient Single-Step Adversarial Training, NeurIPS 2022.
    Published for CIFAR-10 and CIFAR-100: k 2, step eps in the l-inf ball of 2/255 to 16/255, PreActResNet-18, batch
    128, learning rate 0.2 up and down once in 30 epochs, weight decay 5e-4.

    When to use it: as the strongest single-step baseline without a memory. Noise costs some clean accuracy.

    Deviation: the attack sees BatchNorm in eval mode; `attack.mode` train is the published code's way. In l2 and l1
    balls, which the paper does not treat, the noise is uniform in the ball of k eps.

    Cost: 2 forward and 2 backward passes a step; standard training has 1 and 1.

    Args:
        k: radius of the noise in units of eps, at least 0; 0 is plain FGSM.
        attack: the step from the noisy image, which is the centre of its ball.
    """

    def __init__(self, k: float = 2.0, attack: PGD = FGSM()) -> None:
        super().__init__()
        check_number("method.k", k, least=0)
        self.k = k
        self.attack = of_kind("method.attack", attack, PGD)

    def noisy(self, images: Tensor) -> Tensor:
        """The images with their noise, in [0, 1].

        Raises:
            InputError: noise of k eps would cover the whole range of a pixel.
        """
        if self.k == 0:
            return images
        radius = self.k * self.threat.radius
        if self.threat.bounds_each_pixel and radius >= 1:
            raise InputError(
                f"method.k: expected noise of k eps below 1 (images lie in [0, 1]), got k {self.k} and eps "
                f"{self.threat.radius:g}; lower --method.k"
            )
        return ThreatModel(self.threat.norm, radius).random_start(images, self.generator)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy from the noisy ones, up to (k + 1) eps from the clean ones."""
        noisy = self.noisy(batch.images)
        return Perturbed(self.attack.run(model, noisy, batch.labels, self.threat, self.generator).adversarial, noisy)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the adversarial images."""
        return {"adversarial_ce": Term(cross_entropy(model(perturbed.images), batch.target))}
