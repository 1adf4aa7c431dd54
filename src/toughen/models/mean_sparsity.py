"""MeanSparse: features near their mean become it, in a network that is trained already."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.hardware.precision import at_least_fp32
from toughen.models.features import find_layer
from toughen.models.mode import evaluating
from toughen.models.split_batchnorm import is_batch_norm
from toughen.models.state import copied
from toughen.numbers import check_number

_CHUNK = 250
"""Images that statistics are gathered from at a time."""


class MeanSparse(nn.Module):
    """A layer, and what it gives: `m_c` in the place of each value with `|a - m_c| < threshold s_c`.

    m and s are the mean and the standard deviation of channel c (the second dimension) over images and places.

    Args:
        layer: whose output it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.threshold = 0.0
        self.training = layer.training
        for name in ("mean", "std"):
            self.register_buffer(name, None)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with values near the mean replaced by it, through which no gradient flows."""
        output: Tensor = self.layer(x)
        if not self.threshold:
            return output
        shape = (1, -1, *[1] * (output.ndim - 2))
        mean, reach = self.mean.view(shape), (self.threshold * self.std).view(shape)
        return torch.where((output - mean).abs() < reach, mean, output).to(output.dtype)


def mean_sparse(model: nn.Module, images: Tensor, threshold: float, layers: Sequence[str] | None = None) -> nn.Module:
    """MeanSparse (Amini 2024): a trained network whose features lose what lies near their mean.

    Nothing is trained. Small variations around the mean carry little of the class and much of what attacks add up, so
    that some robust accuracy is won for little clean accuracy. Where values are replaced no gradient flows: the
    network masks gradients by construction, and a part of what gradient attacks no longer break may be that alone.
    Evaluate it with AutoAttack and the checks on (`toughen.evaluate`, `budget="standard"`), and believe no figure that
    is doubted.

    Source: Amini et al., MeanSparse: Post-Training Robustness Enhancement Through Mean-Centered Feature
    Sparsification, arXiv 2406.05927, and its code. Published for CIFAR-10: threshold 0.15 to 0.25, chosen by
    AutoAttack's APGD; WRN-94-16 93.7 / 73.7 before and 93.6 / 75.3 per cent clean / AutoAttack after.

    Deviations: mean and deviation are those of all given images; the code averages those of its batches. Its networks
    have such a layer behind every residual sum too: name the blocks in `layers`.

    Args:
        model: a trained network; it is not changed.
        images: training images in [0, 1], N x C x H x W, of which the statistics are; some thousands.
        threshold: in standard deviations, at least 0; 0 leaves all as it is. Choose it on held-out images.
        layers: names of layers behind whose output values are replaced; default every BatchNorm.

    Returns:
        A copy in eval mode. `set_threshold` changes its threshold.

    Raises:
        InputError: a layer that does not exist, or no BatchNorm; fewer than two images.
    """
    check_number("threshold", threshold, least=0)
    if len(images) < 2:
        raise InputError(f"images: expected training images to take means and deviations of, got {len(images)}")
    sparse = copied(model).eval()
    if layers is None:
        names = [name for name, module in sparse.named_modules() if is_batch_norm(module)]
        if not names:
            raise InputError(f"layers: {type(model).__name__} has no BatchNorm; name the layers, such as layer1.0")
    else:
        names = list(dict.fromkeys(find_layer(sparse, name) for name in layers))
    # From the end on: what is wrapped later may hold what was wrapped before.
    for name in sorted(names, key=lambda name: -name.count(".")):
        parent, _, own = name.rpartition(".")
        setattr(sparse.get_submodule(parent), own, MeanSparse(sparse.get_submodule(name)))
    _gather(sparse, images)
    return set_threshold(sparse, threshold)


def set_threshold(model: nn.Module, threshold: float) -> nn.Module:
    """The same network with another threshold, in standard deviations.

    Raises:
        InputError: it was not made by `mean_sparse`.
    """
    check_number("threshold", threshold, least=0)
    found = [module for module in model.modules() if isinstance(module, MeanSparse)]
    if not found:
        raise InputError(f"model: expected a network made by mean_sparse, got {type(model).__name__}")
    for module in found:
        module.threshold = float(threshold)
    return model


def _gather(model: nn.Module, images: Tensor) -> None:
    """Give every layer the mean and deviation of what it gives for these images, as the network is without it."""
    found = [module for module in model.modules() if isinstance(module, MeanSparse)]
    with evaluating(model), torch.no_grad(), _moments(found) as moments:
        for chunk in images.split(_CHUNK):
            model(chunk)
    for module in found:
        count, total, squares = moments[module]
        mean = total / count
        module.mean = mean.to(images.dtype)
        module.std = ((squares - count * mean.square()) / (count - 1)).clamp_min(0).sqrt().to(images.dtype)


@contextmanager
def _moments(modules: list[MeanSparse]) -> Iterator[dict[nn.Module, tuple[int, Tensor, Tensor]]]:
    """Number, sum and sum of squares of each channel's values, in float64, over the passes inside."""
    moments: dict[nn.Module, tuple[int, Tensor, Tensor]] = {}

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = at_least_fp32(output).double().transpose(0, 1).flatten(1)
        count, total, squares = moments.get(module, (0, 0.0, 0.0))
        moments[module] = count + values.shape[1], total + values.sum(dim=1), squares + values.square().sum(dim=1)

    hooks = [module.register_forward_hook(add) for module in modules]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()
