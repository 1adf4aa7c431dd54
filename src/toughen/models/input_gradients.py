"""Forms of a model with the same verdicts, whose gradient attacks can use: finite, inside the box, often."""

import torch
from torch import Tensor, nn

from toughen.random_state import own_random_state

INSIDE = 1e-6
"""How far from 0 and 1 `Inside` differentiates: 16 times what fp32 tells apart at 1, far below any step."""


def finite(gradient: Tensor) -> Tensor:
    """The gradient with 0 where it is infinite or no number: an attack leaves such pixels as they are."""
    return gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def inside(images: Tensor) -> Tensor:
    """Images whose pixels lie in [INSIDE, 1 - INSIDE].

    >>> inside(torch.tensor([0.0, 1.0])).sub(torch.tensor([0.0, 1.0])).abs().gt(0).all()
    tensor(True)
    """
    return images * (1 - 2 * INSIDE) + INSIDE


class _Finite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return finite(gradients[0])


class FiniteGradients(nn.Module):
    """The model with `finite` input gradients; bit for bit the model itself where they are.

    A library's attack divides by the norm of the gradient, and one NaN makes its images NaN.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.model(_Finite.apply(images))


class Inside(nn.Module):
    """The model, differentiated at `inside` of the images; without a gradient it is the model itself.

    A clamp to [0, 1], the identity on images, has slope 0 at its bounds in torch, and a root none at 0: attacks would
    leave every pixel there that has come there. Verdicts, which need no gradient, are of the images themselves.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.model(inside(images) if torch.is_grad_enabled() and images.requires_grad else images)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, images: Tensor, model: nn.Module) -> Tensor:
        ctx.save_for_backward(images)
        ctx.model, ctx.state = model, torch.get_rng_state()  # type: ignore[attr-defined]
        return model(images)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors  # type: ignore[attr-defined]
        with torch.enable_grad(), own_random_state():
            torch.set_rng_state(ctx.state)  # type: ignore[attr-defined]
            images = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.model(images), images, gradients[0])  # type: ignore[attr-defined]
        return gradient, None


class Recomputed(nn.Module):
    """A model that gives one gradient a pass, as a compiled one does: each backward pass makes a pass of its own.

    FAB asks for the gradient of every logit.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        if torch.is_grad_enabled() and images.requires_grad:
            return _Recomputed.apply(images, self.model)
        return self.model(images)


class Blind(nn.Module):
    """The same logits, with a gradient that is zero: gradient attacks run in vain, Square and transfer as ever."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        with torch.no_grad():
            logits = self.model(images)
        return logits + (0 * images).flatten(1).sum(dim=1, keepdim=True)
