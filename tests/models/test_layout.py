"""Convolutions get the layout in which they are fast, and compute what they computed."""

import copy

import pytest
import torch
from torch import Tensor, nn

from toughen.losses import cross_entropy
from toughen.models.fold import fold
from toughen.models.layout import ContiguousConv2d, lay_out


def wide() -> nn.Module:
    """Maps of 8 x 8, 4 x 4, 4 x 4 and 1 x 1, with 256 channels in all but the third, and a 1 x 1 convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, stride=2, padding=1),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, 16, 3, padding=1),
            nn.Conv2d(16, 256, 3, padding=1),
            nn.Conv2d(256, 256, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(256, 8, 3, padding=1),
            nn.Flatten(),
        )


@pytest.fixture
def images() -> Tensor:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


def gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    x = images.clone().requires_grad_()
    loss = cross_entropy(model(x), torch.arange(len(x))).sum()
    return list(torch.autograd.grad(loss, [x, *(p for p in model.parameters() if p.requires_grad)]))


def test_many_channels_on_small_maps_are_contiguous(images: Tensor) -> None:
    network = wide().train()
    expected = gradients(copy.deepcopy(network), images)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert lay_out(network, images, torch.channels_last, torch.float32) is network
    assert [i for i, layer in enumerate(network) if isinstance(layer, ContiguousConv2d)] == [4]
    assert network[4].weight.is_contiguous()
    assert not network[1].weight.is_contiguous()
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])
    for found, wanted in zip(gradients(network, images), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "dtype"), [(torch.contiguous_format, torch.float32), (torch.channels_last, torch.bfloat16)]
)
def test_only_in_channels_last_and_fp32(images: Tensor, layout: torch.memory_format, dtype: torch.dtype) -> None:
    network = lay_out(wide(), images, layout, dtype)
    assert not any(isinstance(layer, ContiguousConv2d) for layer in network)
    assert network[1].weight.is_contiguous(memory_format=layout)


def test_a_laid_out_network_is_folded_as_any_other(images: Tensor) -> None:
    network = wide().train()
    network(images)
    replica = fold(lay_out(network, images, torch.channels_last, torch.float32), images, torch.float32)
    assert replica is not None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in replica.modules())
    assert sum(isinstance(module, ContiguousConv2d) for module in replica.modules()) == 1
    with torch.no_grad():
        torch.testing.assert_close(replica(images), network.eval()(images), rtol=1e-4, atol=1e-4)
