"""Shares of images without a gradient, against plain loops; and gradients of models that have none."""

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import Tensor, nn

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


def test_a_gradient_that_is_not_finite(look, network: nn.Module):
    class Root(zoo.Around):
        """sqrt(x)^2 = x has an infinite slope, and then none, at every black pixel."""

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images.sqrt().square())

    finding = look(Root(network).eval())["zero_gradients"]
    assert finding.figures["both"] == 1


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

    finding = look(OneWay(network).eval())["not_differentiable"]
    assert finding.figures == {"reason": "no way back"}


def test_8_bit_images_that_pass_the_gradient_on(look, network: nn.Module):
    """A tenth of PGD-20's step is rounded away, but the step itself does what the gradient says."""
    assert look(zoo.StraightThrough(network, 255).eval()) == {}
