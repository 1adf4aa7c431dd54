"""Rewritten networks give what they gave, and are rewritten where that is safe and pays."""

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from toughen.models.rewrite import relu_in_place


class Net(nn.Module):
    """ReLUs in every way of writing them, behind everything that may stand before one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU()
        self.point, self.small = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))  # behind a convolution
        x = torch.relu(self.norm(self.conv2(x)))  # behind a BatchNorm
        kept = self.point(x)
        x = self.relu(kept) * kept  # its input is needed again
        x = self.relu(x + self.small(x))  # behind a sum
        x = F.relu(torch.sigmoid(x))  # autograd needs the sigmoid's output
        return x.mean((2, 3))


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_relus_overwrite_what_nothing_else_needs(net: nn.Module, images: Tensor) -> None:
    before, expected = net(images), gradient(net, images)
    traced = fx.symbolic_trace(net)
    relu_in_place(traced)
    traced.recompile()
    overwriting = [node for node in traced.graph.nodes if node.kwargs.get("inplace")]
    assert len(overwriting) == 3  # of five: not that of the kept input, nor that of the sigmoid
    torch.testing.assert_close(traced(images), before, rtol=0, atol=0)
    torch.testing.assert_close(gradient(traced, images), expected, rtol=0, atol=0)
