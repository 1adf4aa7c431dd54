"""GAIRAT, geometry-aware instance-reweighted adversarial training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.errors import InputError
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.numbers import check_number


def geometry_weights(held: Tensor, steps: int, lam: float) -> Tensor:
    """`(1 + tanh(lam + 5 (1 - kappa / h))) / 2`, h = floor(steps / 2), made to average 1 over the batch; (N,).

    Args:
        held: kappa, in how many of the attack's steps each image was still right, (N,).
        steps: those of the attack.
        lam: shifts the weights; at infinity all are 1.

    >>> geometry_weights(torch.tensor([0.0, 5.0, 10.0]), steps=10, lam=0.0)
    tensor([1.9999e+00, 1.0000e+00, 9.0796e-05])
    """
    half = max(1, steps // 2)
    # (1 + tanh a) / 2 = sigmoid(2 a), whose logarithm is finite where all images of a batch have hardly a weight.
    return len(held) * F.logsigmoid(2 * (lam + 5 * (half - held) / half)).softmax(dim=0)


class GAIRAT(Method):
    """GAIRAT (Zhang 2021): adversarial training that nearly leaves out images which withstand the attack.

    `min w CE(f(x'), y)` with `x' = argmax CE(f(x'), y)` and `w ~ (1 + tanh(lam + 5 (1 - 2 kappa / K))) / 2`, averaging
    1 over a batch; kappa counts in how many of the attack's K steps the image was still right. Until epoch `begin` all
    weights are 1.

    Source: Zhang et al., Geometry-Aware Instance-Reweighted Adversarial Training, ICLR 2021, and its code. Published
    for CIFAR-10, WRN-32-10: lam -1, begin 60, uniform start, 10 steps of 0.007 in the l-inf ball of 0.031, SGD with
    learning rate 0.1, weight decay 2e-4, batch 128, 120 epochs, x0.1, x0.01 and x0.005 from epochs 60, 90 and 110:
    85.8 / 57.8 per cent clean / PGD-20, by the checkpoint that was best on the test set.

    When to use it: not. Its gain is against PGD alone: images with weights near 0 keep small margins, and attacks with
    another loss than the cross-entropy find them (Hitaj et al., Evaluating the Robustness of Geometry-Aware
    Instance-Reweighted Adversarial Training, 2021). It is here as an example of a defence that an evaluation by PGD
    overrates, to try evaluations on.

    Deviations: the published schedules `linear` and `piecewise` of lam are left out; the published command is `fixed`.

    Cost: 11 forward and 11 backward passes a step; standard training has 1 and 1.

    Args:
        lam: shifts the weights; higher ones are more even.
        begin: the first epoch (counted from 1) with weights.
        attack: the inner maximum, an ascent on the cross-entropy; one run that keeps its last point.

    Raises:
        InputError: an attack with restarts or the best point kept, whose steps cannot be counted.
    """

    weighs: Tensor

    def __init__(self, lam: float = -1.0, begin: int = 60, attack: GradientAttack = GradientAttack(steps=10)) -> None:
        super().__init__()
        check_number("method.lam", lam)
        check_number("method.begin", begin, least=1, whole=True)
        self.lam = lam
        self.begin = begin
        self.attack = of_kind("method.attack", attack, GradientAttack)
        if attack.restarts > 1 or attack.keep_best:
            raise InputError(
                f"method.attack: GAIRAT counts the steps of one run, got restarts={attack.restarts} and "
                f"keep_best={attack.keep_best}; leave both out"
            )
        self.register_buffer("weighs", torch.tensor(begin == 1))

    def begin_epoch(self, model: nn.Module, epoch: int, first: Batch) -> None:
        """Weigh the images from epoch `begin` on."""
        self.weighs.fill_(epoch + 1 >= self.begin)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images that an ascent on the cross-entropy finds, and in how many of its steps each was still right."""
        held = torch.zeros(len(batch), device=batch.images.device)

        def objective(logits: Tensor) -> Tensor:
            held.add_(logits.detach().argmax(dim=1) == batch.labels)
            return cross_entropy(logits, batch.labels)

        images = self.attack.maximise(model, objective, batch.images, self.threat, self.generator)
        return Perturbed(images, held=held)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The weighted cross-entropy of the adversarial images."""
        values = cross_entropy(model(perturbed.images), batch.target)
        if perturbed.held is not None:
            weights = geometry_weights(perturbed.held.to(values.dtype), self.attack.steps, self.lam)
            values = torch.where(self.weighs, weights, 1.0) * values
        return {"weighted_ce": Term(values)}
