"""Half precision is for networks; distances, losses and projections are computed in fp32 or better."""

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """The tensor itself in fp32 or fp64, any narrower one widened to fp32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
