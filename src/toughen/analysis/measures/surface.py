"""The shape of the loss around an image."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Losses = Callable[[Tensor], Tensor]
"""From images, N x C x H x W, to a loss of each, (N,)."""


def on_plane(losses: Losses, images: Tensor, first: Tensor, second: Tensor, steps: Sequence[float]) -> Tensor:
    """Losses of `x + a d_1 + b d_2` for all a and b of `steps`: (N, len(steps), len(steps)), a along the rows.

    Args:
        losses: a loss of each image.
        images: N x C x H x W.
        first: a direction for each image, such as its adversarial perturbation.
        second: another, such as a random one.
        steps: factors of both.
    """
    with torch.no_grad():
        rows = [torch.stack([losses(images + a * first + b * second) for b in steps], dim=1) for a in steps]
    return torch.stack(rows, dim=1)


def input_gradient(losses: Losses, images: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Losses, (N,), and their gradients with respect to the images, N x C x H x W."""
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        values = losses(x)
        (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=create_graph)
    return values, gradient


def linearity_error(losses: Losses, images: Tensor, perturbations: Tensor) -> Tensor:
    """`|l(x + d) - l(x) - <d, grad l(x)>|` of each image, (N,): 0 where the loss is linear between the two.

    Source: Qin et al., Adversarial Robustness through Local Linearization, 2019, whose gamma is its maximum over the
    ball; over one perturbation it is a lower bound of that.
    """
    before, gradient = input_gradient(losses, images)
    with torch.no_grad():
        after = losses(images + perturbations)
        expected = before + (gradient * perturbations).flatten(1).sum(1)
        return (after - expected).abs()


def largest_curvature(
    losses: Losses, images: Tensor, generator: torch.Generator, iterations: int = 20, tolerance: float = 1e-3
) -> Tensor:
    """The eigenvalue of largest size of each image's input Hessian, (N,), with its sign, by power iteration.

    `v <- H v / |H v|`, then `lambda = <v, H v>`; `H v` is the gradient of `<grad l, v>` (Pearlmutter 1994). Images are
    taken as independent: the network must be in eval mode. Where the loss is piecewise linear it is 0.

    Args:
        losses: a loss of each image, twice differentiable.
        images: N x C x H x W.
        generator: of the first vectors.
        iterations: at most so many, each two backward passes.
        tolerance: relative change of all eigenvalues at which it ends.
    """

    def unit(vectors: Tensor) -> Tensor:
        sizes = vectors.flatten(1).norm(dim=1).view(-1, *[1] * (vectors.ndim - 1))
        return torch.where(sizes > 0, vectors / sizes, 0)

    x = images.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(losses(x).sum(), x, create_graph=True)
    v = unit(torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device))
    eigenvalues = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    if not gradient.requires_grad:
        return eigenvalues  # the gradient does not depend on the image
    for _ in range(iterations):
        (product,) = torch.autograd.grad((gradient * v).sum(), x, retain_graph=True, materialize_grads=True)
        found = (v * product).flatten(1).sum(1)
        settled = bool(((found - eigenvalues).abs() <= tolerance * found.abs()).all())
        eigenvalues, v = found, unit(product)
        if settled:
            break
    return eigenvalues.detach()
