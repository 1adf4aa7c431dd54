"""The layout of memory in which a network's convolutions are fastest."""

import torch
from torch import Tensor, nn

from toughen.models.mode import evaluating

SMALL = 25
"""Places of a map, from 2, up to which a convolution of many channels is computed in the contiguous layout."""
MANY = 256
"""Its channels."""


class ContiguousConv2d(nn.Conv2d):
    """A convolution that is computed in the contiguous layout, whatever the layout of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """The same as ever."""
        return super().forward(input.contiguous())


def lay_out(network: nn.Module, images: Tensor, memory_format: torch.memory_format, dtype: torch.dtype) -> nn.Module:
    """Hold a network in a layout, its convolutions of many channels on small maps in the contiguous one; in place.

    On a CPU in fp32, channels-last convolutions go through the images' rows one by one, and through all their weights
    for each: on 4 x 4 places with 512 channels, the last stage of a ResNet-18 for images of 32 x 32, they took 1.9
    times as long as contiguous ones, on 2 x 2 three times; on 6 x 6 or with 128 channels they were as fast (AVX512,
    torch 2.15).

    A strided 1 x 1 convolution of few channels is computed in the contiguous layout too: on CPUs without AVX512,
    oneDNN's channels-last gradient of its weights writes beyond its memory (4 channels to 8, stride 2, torch 2.14.1 and
    a Zen: "double free or corruption").

    Args:
        network: the network, on its device.
        images: a few, to find the maps' sizes with.
        memory_format: that of everything else.
        dtype: that of the products; in bf16 the layouts are equally fast.

    Returns:
        The network.
    """
    network.to(memory_format=memory_format)
    if images.device.type == "cpu" and memory_format == torch.channels_last and dtype == torch.float32:
        for convolution in (*on_small_maps(network, images), *_overrunning(network)):
            convolution.__class__ = ContiguousConv2d
            # Cloned, because to `contiguous` a 1 x 1 weight is so in either layout.
            convolution.weight.data = convolution.weight.data.clone(memory_format=torch.contiguous_format)
    return network


def _overrunning(network: nn.Module) -> list[nn.Conv2d]:
    """The strided 1 x 1 convolutions whose number of channels fills no vector of 8."""
    return [
        layer
        for layer in network.modules()
        if type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.in_channels % 8
    ]


def on_small_maps(network: nn.Module, images: Tensor) -> list[nn.Conv2d]:
    """The convolutions, larger than 1 x 1 and of torch's own class, that see maps of few places and many channels."""
    found: list[nn.Conv2d] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        if 1 < inputs[0].shape[-2:].numel() <= SMALL and layer.in_channels >= MANY:
            found.append(layer)

    candidates = [layer for layer in network.modules() if type(layer) in (nn.Conv2d, ContiguousConv2d)]
    hooks = [layer.register_forward_pre_hook(look) for layer in candidates if layer.kernel_size != (1, 1)]
    try:
        with evaluating(network), torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found
