"""A run's network with fresh weights, and the precision that suits it."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from toughen.data import ImageSet
from toughen.hardware.precision import Precision, choose_precision
from toughen.models import build_model, forward_flops
from toughen.models.outputs import giving_logits
from toughen.models.state import copied


def fresh_model(model: Callable[..., nn.Module], images: ImageSet, normalize: bool = True) -> nn.Module:
    """The network with new weights, behind an input normalisation, or a copy of the one that was given ready-made.

    It gives logits, whatever else the network gives beside them (see `giving_logits`).
    """
    if isinstance(model, nn.Module):
        network = copied(model)
    else:
        mean, std = images.channel_statistics()
        facts = {"num_classes": len(images.classes), "in_channels": images.shape[0]}
        network = build_model(model, **facts, mean=mean, std=std, normalize=normalize)
    tensor = next((each for each in (*network.parameters(), *network.buffers())), torch.zeros(0))
    return giving_logits(network, images.subset(torch.arange(2))[0].to(tensor.device))


def precision_of(
    settings: dict[str, Any], network: nn.Module, images: ImageSet, device: torch.device
) -> Literal["fp32", "bf16"]:
    """The precision of a run with these settings on this device.

    Raises:
        InputError: the network cannot take the images.
    """
    asked: Precision = "fp32" if settings["precision"] == "auto" and not settings["fast"] else settings["precision"]
    first = images.subset(torch.arange(2))[0]
    return choose_precision(asked, device, lambda: forward_flops(network, first, len(images.classes)))
