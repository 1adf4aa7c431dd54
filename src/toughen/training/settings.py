"""The loop's settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toughen.training.averaging import Average
from toughen.training.guards.settings import Guards
from toughen.training.optimizer import MakeOptimizer, Schedule
from toughen.training.ramps import GrowingEps, GrowingSize, GrowingSteps
from toughen.training.trace.trace import Traced
from toughen.training.weight_perturbation import AWP


@dataclass(frozen=True)
class Settings:
    """Settings of the loop, beside model, method and data. See `toughen.train` for the meaning of each."""

    epochs: int
    optimizer: MakeOptimizer
    decay_all: bool
    layer_decay: float | None
    schedule: Schedule
    average: Average | None
    awp: AWP | None
    clip_grad_norm: float | None
    accumulate: int
    select: str
    log_every: int
    checkpoint_every: int | None
    attack_steps: GrowingSteps | None
    image_size: GrowingSize | None
    fast: bool
    compile: bool
    channels_last: bool
    guards: Guards | None = None
    freeze: Sequence[str] = ()
    body_rate: float = 1.0
    attack_eps: GrowingEps | None = None
    trace: Sequence[Traced] = ()

    @property
    def layout(self) -> torch.memory_format:
        """Memory layout of images and weights."""
        return torch.channels_last if self.channels_last and self.fast else torch.contiguous_format
