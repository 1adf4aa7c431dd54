"""FGSM-PGI, one attack step from the image's own last perturbation."""

from torch import Tensor, nn
from torch.nn import functional as F

from toughen.attacks import GradientAttack
from toughen.attacks.gradient import Objective
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.hardware.precision import at_least_fp32
from toughen.losses import cross_entropy, squared_error
from toughen.methods.method import Perturbed, Term, Terms
from toughen.methods.prior import PriorGuided, initial_of
from toughen.models.passes import passes
from toughen.numbers import check_number


def relaxed(target: Tensor, logits: Tensor, factor: float) -> Tensor:
    """`factor t + (1 - factor) (1 - t) / (K - 1)`: the true class keeps the factor, the others share the rest.

    Args:
        target: labels (N,), then t is their one-hot vectors, or probabilities t (N, K).
        logits: N x K, whose classes and precision the result takes.
        factor: share of the label that the true class keeps.

    Raises:
        InputError: the true class would not keep more than each other one.

    >>> import torch
    >>> relaxed(torch.tensor([1]), torch.zeros(1, 3), 0.5)
    tensor([[0.2500, 0.5000, 0.2500]])
    """
    classes = logits.shape[1]
    if factor * classes <= 1:
        raise InputError(
            f"method.factor: expected more than 1/{classes} with {classes} classes, so that the true class keeps the "
            f"most, got {factor}; use --method.factor 0.8"
        )
    t = (F.one_hot(target, classes) if target.ndim == 1 else target).to(at_least_fp32(logits).dtype)
    return factor * t + (1 - factor) * (1 - t) / (classes - 1)


def prior_guided_terms(final: Tensor, initial: Tensor, target: Tensor, factor: float, lam: float) -> Terms:
    """Relaxed `CE(f(x + d_final), y)` and `lam MSE(f(x + d_final), f(x + d_init))` of the logits, (N,) each."""
    return {
        "adversarial_ce": Term(cross_entropy(final, relaxed(target, final, factor))),
        "mse": Term(squared_error(final, initial), lam),
    }


class FGSMPGI(PriorGuided):
    """FGSM-PGI (Jia 2022): one attack step from the perturbation that the image's last attacks led to.

    `min CE(f(x + d_final), t) + lam MSE(f(x + d_final), f(x + d_init))` where t keeps `factor` on the true class and
    shares the rest among the others, `d_final = project(d_init + eps sign(g))` with g the gradient at d_init of the
    same cross-entropy, and d_init is remembered of every image: with a velocity v from 0, in every epoch
    `v <- g / mean |g| + momentum v` and `d_init <- project(d_init + eps sign(v))`. Both are forgotten every `reset`
    epochs; d_init then starts at a random corner of the ball.

    Source: Jia et al., Prior-Guided Adversarial Initialization for Fast Adversarial Training, ECCV 2022, and its code.
    The defaults are those of FGSM-PGK's code for CIFAR-10; FGSM-PGI's has lam 10, factor 0.6 and reset 40 there.

    When to use it: where only one attack step can be afforded and the training set is fixed: each image's memory costs
    as much as the image as a float tensor.

    Deviations: the code keeps perturbations in the coordinates of the augmented image, here they are cropped and
    mirrored with the image; its first d_init may push an image out of [0, 1], here it is projected. The attack sees
    BatchNorm in eval mode; `attack.mode` train is the code's way, whose running statistics move twice a step, with
    f(x + d_init) and f(x + d_final) of the loss. f(x + d_init) is computed a second time for the loss. The code divides
    g by its sum over the batch, here by the mean of |g|: the same direction for batches of one size. Beyond l-inf,
    sign(v) is the norm's own steepest step.

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

    def __init__(
        self,
        lam: float = 5.6,
        factor: float = 0.5,
        momentum: float = 0.3,
        reset: int = 10,
        attack: GradientAttack = GradientAttack(steps=1, start="clean"),
    ) -> None:
        super().__init__(momentum, reset)
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.factor", factor, above=0, most=1)
        self.lam = lam
        self.factor = factor
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def own_smoothing(self) -> str | None:
        """The option that leaves the true class all of its weight; None where it has it."""
        return "--method.factor 1" if self.factor < 1 else None

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the relaxed cross-entropy from the remembered perturbations."""
        return self.attack_from_memory(model, batch, self.raised(batch), self.attack)

    def raised(self, batch: Batch) -> Objective:
        """The relaxed cross-entropy, which the attack raises."""
        return lambda logits: cross_entropy(logits, relaxed(batch.labels, logits, self.factor))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """Relaxed cross-entropy at the attack's end, and the distance of its output from that at its start."""
        initial, final = passes(model, initial_of(perturbed), perturbed.images)
        return prior_guided_terms(final, initial, batch.target, self.factor, self.lam)
