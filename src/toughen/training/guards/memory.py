"""A step that does not fit into memory, and the same step in less of it."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from toughen.hardware.memory import is_out_of_memory
from toughen.models.sparing import Sparing, in_parts

PARTS = 8
"""A replica of the network, which has no blocks, is asked for a batch in so many."""


class Thrift:
    """What a run does otherwise from the step on that did not fit into memory.

    The network's layers are computed again for their gradients (see `Sparing`); a batch stays whole, for BatchNorm.
    The replica that the attack runs on is asked in parts. All is the same but for rounding, of the replica alone.

    Attributes:
        chosen: whether the run does so.

    Args:
        networks: all whose passes a step needs.
        images: a few, to prove it on.
    """

    def __init__(self, networks: list[nn.Module], images: Tensor) -> None:
        self.networks, self.images, self.chosen = networks, images, False

    def helps(self, error: Exception) -> bool:
        """Whether an error says that memory did not suffice, and the run can do with less."""
        if self.chosen or not is_out_of_memory(error):
            return False
        traceback.clear_frames(error.__traceback__)  # what the failed step held
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        sparing = Sparing(*self.networks)
        return bool(sparing.forwards) and sparing.proved(self.networks[0], self.images)

    @contextmanager
    def on(self, replica: nn.Module | None) -> Iterator[None]:
        """Inside, networks and this replica do with less memory, where that is chosen."""
        if not self.chosen:
            yield
            return
        with Sparing(*self.networks).on():
            if replica is not None:
                replica.forward = partial(in_parts, replica.forward, parts=PARTS)
            try:
                yield
            finally:
                if replica is not None:
                    del replica.forward

    @property
    def kind(self) -> str:
        """What it changes of a step's cost, in words."""
        return ", layers computed again" if self.chosen else ""

    def __str__(self) -> str:
        return "layers are computed again for their gradients: less memory, more time, the same results"
