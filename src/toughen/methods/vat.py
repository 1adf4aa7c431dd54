"""VAT, virtual adversarial training."""

import torch
from torch import Tensor, nn

from toughen.attacks import attacked
from toughen.batch import Batch
from toughen.hardware.precision import at_least_fp32
from toughen.losses import cross_entropy, kl, kl_to
from toughen.methods.method import Method, Perturbed, Term, Terms
from toughen.models.passes import passes
from toughen.numbers import check_number
from toughen.threat import empty_contiguous_like


def sharpest_direction(
    model: nn.Module, images: Tensor, iterations: int, xi: float, generator: torch.Generator | None = None
) -> Tensor:
    """The direction in which the output of each image changes most, by power iteration; like `images`, any length.

    `KL(p_f(x) || p_f(x + r))` is `r' H r / 2` for small r. Its gradient at `r = xi d` is about `xi H d`, so
    `d <- gradient at xi d`, from a random d, turns towards the eigenvector of H with the largest eigenvalue.

    Args:
        model: the attacked network; left as it was.
        images: N x C x H x W.
        iterations: number of times that d is replaced.
        xi: length of r, as the root-mean-square change of a pixel.
        generator: source of the random d.
    """
    direction = empty_contiguous_like(at_least_fp32(images)).normal_(generator=generator)
    with attacked(model):
        with torch.no_grad():
            distance = kl_to(model(images))
        with torch.enable_grad():
            for _ in range(iterations):
                probe = (images + xi * _unit(direction).to(images.dtype)).detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(distance(model(probe)).sum(), probe)
                direction = at_least_fp32(gradient)
    return direction.detach()


def _unit(direction: Tensor) -> Tensor:
    """Each image's direction with a root-mean-square of 1; zero stays zero."""
    tiny = torch.finfo(direction.dtype).tiny
    # Scaled by the largest entry first: a tiny gradient's square would underflow.
    scaled = direction / direction.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(tiny)
    return scaled / scaled.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(tiny)


class VAT(Method):
    """VAT (Miyato 2018): a smooth output around every image, found and trained without looking at its label.

    `min CE(f(x), y) + lam KL(p_f(x) || p_f(x + r))`: r is the step of length eps in the direction in which the
    output changes most, found by power iteration on the KL. p_f(x) is a fixed target in the KL.

    Images without a label are marked by the label -100 (torch's ignore index): their cross-entropy is 0, so they
    count in the KL only.

    Source: Miyato et al., Virtual Adversarial Training, TPAMI 2018, and its code. Published: one iteration, lam 1,
    the l2 norm; here r is the steepest step in whatever norm the threat model has.

    When to use it: as the baseline that smooths without labels; cheap, and weak against strong attacks.

    Deviations: the code's probe, of l2 length 1e-6, is lost in the rounding of fp32; here a pixel of it moves by
    `xi`, 0.01 by default. BatchNorm is in eval mode in the iteration; in the loss the images x + r use and update
    its statistics, which the code leaves untouched. `stop_gradient=False` is the form in which tables of this field
    set VAT beside TRADES: the gradient flows through p_f(x) too.

    Cost: 4 forward and 3 backward passes a step with one iteration; standard training has 1 and 1.

    Args:
        lam: weight of the KL term, at least 0.
        iterations: steps of the power method, at least 1.
        xi: root-mean-square change of a pixel in the probe, above 0.
        stop_gradient: p_f(x) in the KL is a fixed target.
    """

    def __init__(self, lam: float = 1.0, iterations: int = 1, xi: float = 0.01, stop_gradient: bool = True) -> None:
        super().__init__()
        check_number("method.lam", lam, "a weight", least=0)
        check_number("method.iterations", iterations, least=1, whole=True)
        check_number("method.xi", xi, above=0)
        self.lam = lam
        self.iterations = iterations
        self.xi = xi
        self.stop_gradient = stop_gradient

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        """Images one step of length eps in the sharpest direction from the clean ones."""
        images = batch.images
        direction = sharpest_direction(model, images, self.iterations, self.xi, self.generator)
        step = self.threat.radius * self.threat.steepest(direction, images)
        return Perturbed(self.threat.project(images + step, images))

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        """The cross-entropy of the clean images, and the KL to the perturbed ones."""
        clean, perturbed_logits = passes(model, batch.images, perturbed.images)
        fixed = clean.detach() if self.stop_gradient else clean
        return {
            "ce": Term(cross_entropy(clean, batch.target)),
            "virtual_kl": Term(kl(fixed, perturbed_logits), self.lam),
        }
