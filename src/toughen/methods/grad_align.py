"""GradAlign, FGSM training whose gradients point the same way all over the ball."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.contracts import of_kind
from toughen.hardware.precision import at_least_fp32
from toughen.losses import cross_entropy
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.numbers import check_number


def misalignment(first: Tensor, second: Tensor) -> Tensor:
    """`1 - cos(first, second)` of each image's gradients, (N,), from 0 to 2; 0 where one of them is zero.

    >>> first = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(3, 1, 1, 2)
    >>> misalignment(first, torch.tensor([[2.0, 0.0], [0.0, 1e-30], [0.0, 0.0]]).view(3, 1, 1, 2))
    tensor([0., 1., 0.])
    """
    flat = [at_least_fp32(gradient).flatten(1) for gradient in (first, second)]
    # Scaled by the largest entry first: a tiny gradient's square would underflow.
    sizes = [gradient.detach().abs().amax(dim=1, keepdim=True) for gradient in flat]
    known = (sizes[0] > 0) & (sizes[1] > 0)
    one, other = (torch.where(known, each / size.where(known, 1), 1) for each, size in zip(flat, sizes, strict=True))
    return torch.where(known.squeeze(1), 1 - F.cosine_similarity(one, other), 0)


def pixel_gradient(model: nn.Module, images: Tensor, labels: Tensor, differentiable: bool) -> Tensor:
    """Each image's gradient of its cross-entropy, like `images`.

    Args:
        model: the network, in the mode that it is in.
        images: where to take it.
        labels: int64, (N,).
        differentiable: whether a loss of the gradient is to be differentiated with respect to the network.
    """
    images = images.detach().requires_grad_(True)
    # What has no second derivative is left alone: fused attention, and compiled code, which leaves watched layers.
    watch = model.register_forward_hook(lambda *_: None)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            value = cross_entropy(model(images), labels).sum()
            (gradient,) = torch.autograd.grad(value, images, create_graph=differentiable)
    finally:
        watch.remove()
    return gradient


class GradAlign(Method):
    """GradAlign (Andriushchenko 2020): one attack step, and gradients that agree all over the ball.

    `min CE(f(x'), y) + lam (1 - cos(g(x), g(x + u)))`, g the gradient of an image's cross-entropy with respect to its
    pixels, u uniform in the ball, `x' = project(x + eps sign(g(x)))`. g(x) is the attack's and a fixed target; the
    network learns through g(x + u), by second derivatives.

    Source: Andriushchenko, Flammarion, Understanding and Improving Fast Adversarial Training, NeurIPS 2020, and its
    code. Published for CIFAR-10, PreActResNet-18, batch 128, 30 epochs, learning rate 0.3 up and down once, weight
    decay 5e-4: lam 0.2 in the l-inf ball of 8/255 (79.8 clean, 43.9 AutoAttack by RobustBench); for other radii lam
    is 0.02 10^(eps / (8/255)), 2 at 16/255.

    When to use it: where one attack step collapses, at large eps above all, and a step may cost twice as much as
    N-FGSM's.

    Deviations: an image with a gradient of zero counts as aligned, where the code leaves it out of the mean; x + u is
    clipped to [0, 1]. With `attack.mode` eval g(x) is computed once more, in train mode.

    Cost: 3 forward and 4 backward passes a step, one of them a second derivative; standard training has 1 and 1.

    Args:
        lam: weight of the misalignment, at least 0.
        attack: the step from the clean image.
    """

    def __init__(
        self, lam: float = 0.2, attack: GradientAttack = GradientAttack(steps=1, start="clean", mode="train")
    ) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        self.lam = lam
        self.attack = of_kind("method.attack", attack, GradientAttack)

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step up the cross-entropy, its gradient, and random points of the ball."""
        gradients: list[Tensor] = []
        images = self.attack.maximise(
            model,
            lambda logits: cross_entropy(logits, batch.labels),
            batch.images,
            self.threat,
            self.generator,
            on_gradient=gradients.append,
        )
        noisy = self.threat.random_start(batch.images, self.generator)
        gradient = gradients[0] if self.attack.mode == "train" else None  # of the network as the loss sees it
        return Perturbed(images, gradient=gradient, noisy=noisy)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the adversarial images, and how far the gradients disagree."""
        supervised = cross_entropy(model(perturbed.images), batch.target)
        first = perturbed.gradient
        if first is None:
            first = pixel_gradient(model, batch.images, batch.labels, differentiable=False)
        # In epochs on clean images there is no other point.
        noisy = batch.images if perturbed.noisy is None else perturbed.noisy
        second = pixel_gradient(model, noisy, batch.labels, differentiable=True)
        return {
            "adversarial_ce": Term(supervised),
            "misalignment": Term(misalignment(first.detach(), second), self.lam),
        }
