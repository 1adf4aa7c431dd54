"""NaN and infinity in what a run has learnt, found before it is saved."""

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from toughen.models.mode import evaluating
from toughen.random_state import own_random_state


def bad_weights(*modules: nn.Module) -> str | None:
    """What is wrong with these modules' parameters, in words; None where nothing is.

    Weights above 1.8e19 count as infinite: their squares are, in fp32, and with them what BatchNorm divides by.
    """
    weights = [weight.detach() for module in modules for weight in module.parameters() if weight.is_floating_point()]
    if weights and not bool(get_total_norm(weights).square().isfinite()):
        return "weights became NaN or infinite"
    return None


def bad_outputs(model: nn.Module, images: Tensor) -> str | None:
    """What is wrong with the network's outputs in eval mode, in words; None where nothing is."""
    with evaluating(model), torch.no_grad(), own_random_state():
        return None if bool(model(images).isfinite().all()) else "outputs of the network became NaN or infinite"
