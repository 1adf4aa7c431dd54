"""Shares of images without a gradient, against plain loops; and gradients of models that have none."""

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from toughen.errors import InputError
from toughen.losses import margin


@pytest.mark.parametrize("bound", [0.3, 1.0])
def test_shares_are_those_of_a_plain_loop(look, network: nn.Module, digits, bound: float):
    model = zoo.Clipped(network, bound).eval()
    zero = {"ce": [], "margin": []}
    for image, label in zip(digits[0][:64].split(1), digits[1][:64].split(1), strict=True):
        for name, loss in (("ce", F.cross_entropy), ("margin", margin)):
            x = image.clone().requires_grad_(True)
            loss(model(x), label).sum().backward()
            zero[name].append(bool((x.grad == 0).all()))
    figures = look(model)["zero_gradients"].figures
    both = [first and second for first, second in zip(zero["ce"], zero["margin"], strict=True)]
    assert figures == {
        "ce": sum(zero["ce"]) / 64,
        "margin": sum(zero["margin"]) / 64,
        "both": sum(both) / 64,
        "n": 64,
    }


def test_a_gradient_that_is_not_finite(look, network: nn.Module, digits):
    class Root(zoo.Around):
        """sqrt(x)^2 = x has an infinite slope, and then none, at every black pixel."""

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images.sqrt().square())

    found = look(Root(network).eval())
    black = (digits[0][:64] == 0).flatten(1).any(1).float().mean()
    assert found["gradients_not_finite"].figures == {"share": black.item(), "n": 64}
    assert "zero_gradients" not in found


class Stubborn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        raise RuntimeError("no way back\nfrom here")


def test_a_backward_pass_that_fails(look, network: nn.Module):
    class OneWay(zoo.Around):
        def forward(self, images: Tensor) -> Tensor:
            return self.network(Stubborn.apply(images))

    with pytest.raises(
        InputError, match=r"no way back\. Where it uses torch.utils.checkpoint, give use_reentrant=False"
    ):
        look(OneWay(network).eval())


def test_a_reentrant_checkpoint_is_refused(look, network: nn.Module):
    class Checkpointed(zoo.Around):
        def forward(self, images: Tensor) -> Tensor:
            return checkpoint(self.network, images, use_reentrant=True)

    with pytest.raises(InputError, match="use_reentrant=False"):
        look(Checkpointed(network).eval())


@pytest.mark.parametrize("border", [lambda x: x.clamp(0, 1), F.relu, F.relu6, nn.Hardtanh(0, 1), lambda x: x.abs()])
def test_a_slope_that_vanishes_at_the_border(look, network: nn.Module, border):
    class Bordered(zoo.Around):
        def forward(self, images: Tensor) -> Tensor:
            return self.network(border(images))

    assert set(look(Bordered(network).eval())) == {"flat_border"}


def test_8_bit_images_that_pass_the_gradient_on(look, network: nn.Module):
    """A tenth of PGD-20's step is rounded away, but the step itself does what the gradient says."""
    assert look(zoo.StraightThrough(network, 255).eval()) == {}
