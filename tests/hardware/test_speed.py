"""FLOPs against closed forms, and the measured peak."""

from timeit import timeit

import torch
from torch import nn

from toughen.hardware.speed import FlopCounter, matmul_peak


def test_flops_of_a_convolution_and_its_gradients() -> None:
    layer = nn.Conv2d(3, 8, 3, padding=1)
    images = torch.rand(2, 3, 10, 10, requires_grad=True)
    once = 2 * 2 * 10 * 10 * 3 * 8 * 9
    with FlopCounter() as counter:
        output = layer(images)
    assert counter.flops == once
    with FlopCounter() as counter:
        torch.autograd.grad(output.sum(), images, retain_graph=True)
    assert counter.flops == once
    with FlopCounter() as counter:
        output.sum().backward()
    assert counter.flops == 2 * once


def test_a_large_product_is_faster_than_a_small_one() -> None:
    small = torch.ones(4, 4)
    assert matmul_peak(torch.device("cpu"), torch.float32, seconds=0.0) > 2 * 4**3 * 1000 / timeit(
        lambda: small @ small, number=1000
    )
