"""The optimiser's settings, and learning rates as pure functions of how far the run is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from toughen.errors import InputError
from toughen.numbers import check_number


class SGD:
    """Stochastic gradient descent with momentum.

    Args:
        lr: the highest learning rate; the schedule scales it.
        momentum: momentum factor, 0 to below 1.
        weight_decay: L2 penalty on the weights.
        nesterov: use Nesterov's momentum.
        decay_all: decay biases and normalisation parameters too, as most published code of this field does.
    """

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
        decay_all: bool = True,
    ) -> None:
        check_number("optimizer.lr", lr, "a learning rate", above=0)  # 0 trains nothing
        check_number("optimizer.momentum", momentum, least=0, below=1)
        check_number("optimizer.weight_decay", weight_decay, least=0)
        if nesterov and not momentum:
            raise InputError(
                "optimizer.nesterov: expected a momentum above 0 with it, got 0; set --optimizer.momentum 0.9"
            )
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.decay_all = decay_all

    def build(self, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
        """The optimiser of all parameters of these modules that need a gradient.

        Raises:
            InputError: there is none.
        """
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if not parameters:
            raise InputError(
                "the network has no parameters that need a gradient, so there is nothing to train; expected a network "
                "that is not quantised (quantise it after training), with requires_grad left on"
            )
        decayed = [p for p in parameters if self.decay_all or p.ndim > 1]
        exempt = [p for p in parameters if not self.decay_all and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}]
        if exempt:
            groups.append({"params": exempt, "weight_decay": 0.0})
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, foreach=True)


class Schedule(ABC):
    """A learning rate over the run. No state: a resumed run needs nothing but its place."""

    @abstractmethod
    def factor(self, epoch: float, epochs: int) -> float:
        """What the highest learning rate is multiplied with after `epoch` (a fraction within an epoch) of `epochs`."""


class Constant(Schedule):
    """The same learning rate all along."""

    def factor(self, epoch: float, epochs: int) -> float:
        """1."""
        return 1.0


class MultiStep(Schedule):
    """The learning rate drops by a factor at given epochs.

    Args:
        milestones: after how many epochs it drops.
        gamma: the factor.
        first_epoch: a further factor during the first epoch, above 0; 0.2 is a careful start.

    >>> [MultiStep([100, 150]).factor(epoch, 200) for epoch in (99.9, 100, 150)]
    [1.0, 0.1, 0.010000000000000002]
    >>> [MultiStep([100, 150], first_epoch=0.2).factor(epoch, 200) for epoch in (0, 0.9, 1)]
    [0.2, 0.2, 1.0]
    """

    def __init__(self, milestones: list[int], gamma: float = 0.1, first_epoch: float = 1.0) -> None:
        for milestone in milestones:
            check_number("schedule.milestones", milestone, "epochs", least=0)
        check_number("schedule.gamma", gamma, "a factor", above=0)
        check_number("schedule.first_epoch", first_epoch, "a factor", above=0)
        self.milestones = list(milestones)
        self.gamma = gamma
        self.first_epoch = first_epoch

    def factor(self, epoch: float, epochs: int) -> float:
        """`gamma` to the power of the number of milestones passed, times `first_epoch` in the first epoch."""
        start = self.first_epoch if epoch < 1 else 1.0
        return start * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class Cosine(Schedule):
    """Half a cosine from the highest learning rate to zero, after a linear warm-up.

    Args:
        warmup: epochs of linear warm-up.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        check_number("schedule.warmup", warmup, "epochs", least=0)
        self.warmup = warmup

    def factor(self, epoch: float, epochs: int) -> float:
        """`(1 + cos(pi t)) / 2`, t from 0 at the end of the warm-up to 1 at the end of the run."""
        if epoch < self.warmup:
            return epoch / self.warmup
        return (1 + math.cos(math.pi * (epoch - self.warmup) / max(epochs - self.warmup, 1e-9))) / 2


class OneCycle(Schedule):
    """Linear rise from zero to the highest learning rate, then linear fall to zero (super-convergence).

    Args:
        peak: when the highest learning rate is reached, as a share of the run, 0 to below 1.

    >>> [OneCycle(peak=0.25).factor(epoch, 8) for epoch in (0, 1, 2, 5, 8)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak: float = 0.3) -> None:
        check_number("schedule.peak", peak, "a share of the run", least=0, below=1)
        self.peak = peak

    def factor(self, epoch: float, epochs: int) -> float:
        """`t / peak` before the peak, `(1 - t) / (1 - peak)` after, t the share of the run that is done."""
        t = epoch / epochs
        return t / self.peak if t < self.peak else (1 - t) / (1 - self.peak)
