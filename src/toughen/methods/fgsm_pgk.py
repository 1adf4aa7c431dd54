"""FGSM-PGK, FGSM-PGI that follows how well its attack succeeds."""

import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.methods.fgsm_pgi import FGSMPGI, prior_guided_terms
from toughen.methods.method import Perturbed, Terms
from toughen.methods.prior import failure_rate, initial_of
from toughen.models.passes import passes


class FGSMPGK(FGSMPGI):
    """FGSM-PGK (Jia 2024): FGSM-PGI whose memory, and average of weights, follow how well the attack succeeds.

    `min CE(f(x + d_final), t) + lam MSE(f(x + d_final), f(x + d_init))` as FGSM-PGI, but a new gradient counts the
    more the better the attack succeeds: `v <- (2 - h) g / mean |g| + momentum v`, h the share of images that were
    right at d_init and are still right at d_final. The paper's other half is an average of the weights that stands
    almost still while the attack fails: `--average SuccessEMA`, which reads h and belongs to every published figure.

    Source: Jia et al., Improving Fast Adversarial Training with Prior-Guided Knowledge, TPAMI 2024, and its code.
    Published, l-inf ball of 8/255, batch 128, 110 epochs, learning rate 0.1, x0.1 at 100 and 105, weight decay 5e-4:
    CIFAR-10 with ResNet-18 as the defaults, SuccessEMA threshold 0.82; CIFAR-100 with ResNet-18 and Tiny ImageNet
    with PreActResNet-18 lam 1, factor 0.8, momentum 0.1, reset 40, threshold 0.9.

    When to use it: as FGSM-PGI, and as the baseline of RegMix' single-step tables.

    Deviations: those of FGSM-PGI. Memory and average take h of this step, as in the code. Where none is right at d_init
    h stays as it was (the code divides by 0), and it is at most 1.

    Memory: two fp16 numbers a pixel and channel of the training set, 0.6 GB for CIFAR-10, 4.9 GB for Tiny ImageNet;
    checkpoints grow by as much.

    Cost: 3 forward and 3 backward passes a step; standard training has 1 and 1.

    Args:
        lam: weight of the MSE of the logits, at least 0.
        factor: share of the label that the true class keeps, above 1/K and at most 1; with 2 classes use 0.8.
        momentum: share of an image's velocity that stays, 0 to below 1.
        reset: epochs after which all perturbations are forgotten, at least 1.
        attack: the step from the remembered perturbation, up the relaxed cross-entropy; its own start is not used.
    """

    held: Tensor

    def __init__(
        self,
        lam: float = 5.6,
        factor: float = 0.5,
        momentum: float = 0.3,
        reset: int = 10,
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__(lam, factor, momentum, reset, attack)
        self.register_buffer("held", torch.tensor(1.0))

    def attack_failure_rate(self) -> Tensor:
        """Share h of the last step's images that the attack did not break."""
        return self.held

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the relaxed cross-entropy from the remembered perturbations."""
        return self.attack_from_memory(model, batch, self.raised(batch), self.attack, keep=False)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Relaxed cross-entropy at the attack's end, and its output's distance from that at its start; measures h."""
        initial, final = passes(model, initial_of(perturbed), perturbed.images)
        self.held.copy_(failure_rate(final, initial, batch.labels, self.held))
        return prior_guided_terms(final, initial, batch.target, self.factor, self.lam)

    def after_loss(self, batch: Batch, perturbed: Perturbed) -> None:
        """Remember the attack's gradient, weighted by how well it succeeded in this step."""
        self.update_memory(batch, perturbed, self.attack, 2 - self.held)
