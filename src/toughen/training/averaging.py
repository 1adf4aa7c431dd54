"""Averages of the weights over training, which are often more robust than the last ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn, update_bn

from toughen.errors import InputError


class Average(ABC):
    """How weights are averaged. The averaged network is the one that is validated and reported."""

    @abstractmethod
    def build(self, model: nn.Module) -> AveragedModel:
        """The average of a network, before its first update."""

    @abstractmethod
    def due(self, epoch: int, last_of_epoch: bool) -> bool:
        """Whether the average takes in the weights after this step."""

    def settle(self, averaged: AveragedModel, images: Iterable[Tensor]) -> None:
        """Make the averaged network usable, at the end of an epoch."""


class EMA(Average):
    """Exponential moving average of weights and BatchNorm statistics, after every step.

    Args:
        decay: what stays of the average in a step; 0.995 to 0.9995 are usual.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise InputError(f"average.decay: expected a number between 0 and 1, got {decay}")
        self.decay = decay

    def build(self, model: nn.Module) -> AveragedModel:
        """The average starts as a copy of the network."""
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=True)

    def due(self, epoch: int, last_of_epoch: bool) -> bool:
        """Always."""
        return True


class SWA(Average):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of epochs.

    BatchNorm statistics are estimated again, on training images, whenever the average has changed.

    Args:
        start: the first epoch (counted from 1) whose weights are taken in.
    """

    def __init__(self, start: int = 51) -> None:
        if start < 1:
            raise InputError(f"average.start: expected an epoch of at least 1, got {start}")
        self.start = start

    def build(self, model: nn.Module) -> AveragedModel:
        """The average is a copy of the network until its first update."""
        return AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())

    def due(self, epoch: int, last_of_epoch: bool) -> bool:
        """At the end of every epoch from `start` on."""
        return last_of_epoch and epoch + 1 >= self.start

    def settle(self, averaged: AveragedModel, images: Iterable[Tensor]) -> None:
        """Estimate the BatchNorm statistics on these images."""
        if int(averaged.n_averaged) > 0:
            with torch.no_grad():
                update_bn(images, averaged)
