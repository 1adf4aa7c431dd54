"""Optimisers: any callable from parameters to one; and learning rates as pure functions of how far the run is."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from toughen.errors import InputError
from toughen.models.stages import distances
from toughen.numbers import check_number
from toughen.settings.description import arguments_of

MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
"""An optimiser that waits for its parameters: a class of `torch.optim`, a `functools.partial` of one, a function."""


class SGD(torch.optim.SGD):
    """torch's SGD with this field's settings as defaults.

    Args:
        params: parameters or groups of them.
        lr: the highest learning rate; the schedule scales it.
        momentum: momentum factor, 0 to below 1.
        weight_decay: L2 penalty on the weights.
        nesterov: use Nesterov's momentum.
    """

    def __init__(
        self, params: Any, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 5e-4, nesterov: bool = False
    ) -> None:
        check_number("optimizer.lr", lr, "a learning rate", above=0)  # 0 trains nothing
        check_number("optimizer.momentum", momentum, least=0, below=1)
        check_number("optimizer.weight_decay", weight_decay, least=0)
        if nesterov and not momentum:
            raise InputError(
                "optimizer.nesterov: expected a momentum above 0 with it, got 0; set --optimizer.momentum 0.9"
            )
        super().__init__(params, lr, momentum, 0, weight_decay, nesterov, foreach=True)


def with_defaults(make: MakeOptimizer) -> MakeOptimizer:
    """The optimiser with the plain defaults of its signature written out, so that a configuration records them.

    >>> with_defaults(partial(torch.optim.AdamW, lr=0.1)).keywords["weight_decay"]
    0.01
    """
    given = arguments_of(make) if isinstance(make, partial) else {}
    called = make.func if isinstance(make, partial) else make
    defaults = {name: each.default for name, each in inspect.signature(called).parameters.items()}
    plain = {name: value for name, value in defaults.items() if value is None or isinstance(value, bool | int | float)}
    return partial(called, **{**plain, **given})


def trial(make: MakeOptimizer) -> torch.optim.Optimizer:
    """The optimiser of a weight and a bias after a step, which shows whether a run can use it.

    Raises:
        InputError: it cannot be made, takes no plain step, or has a setting that means nothing.
    """
    name = getattr(getattr(make, "func", make), "__name__", type(make).__name__)
    if not callable(make):
        raise InputError(
            "optimizer: expected a callable from parameters to an optimiser, such as "
            f"functools.partial(torch.optim.AdamW, lr=1e-3), got an object of {name}"
        )
    weight, bias = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    weight.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    try:
        optimizer = make([weight, bias])
        optimizer.step()
        settings = optimizer.param_groups[0]
        rate = settings["lr"]
    except InputError:
        raise
    except Exception as error:  # whatever another's code raises
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"--optimizer {name}: {reason}; AdamW and most others of torch.optim will do") from error
    check_number("--optimizer.lr", float(rate), "a learning rate", above=0)
    for setting, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"--optimizer.{setting}: expected a finite number, got {value}")
    return optimizer


def parameter_groups(
    model: nn.Module,
    method: nn.Module,
    decay_all: bool = True,
    layer_decay: float | None = None,
    body_rate: float = 1.0,
) -> list[Any]:
    """Parameters that need a gradient, as an optimiser takes them: in groups where their settings differ.

    Args:
        model: the network.
        method: whose learnable parts are optimised too.
        decay_all: false: no weight decay in a group of biases and normalisation parameters (of one dimension or none).
        layer_decay: the learning rate of each layer is that of the next one times this; see `distances`.
        body_rate: a further factor of the learning rates of all layers but the head.

    Raises:
        InputError: there is no such parameter.
    """
    parameters = [p for module in (model, method) for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(
            "the network has no parameters that need a gradient, so there is nothing to train; expected a network "
            "that is not quantised (quantise it after training), with requires_grad left on"
        )
    one_rate = layer_decay is None and body_rate == 1
    if decay_all and one_rate:
        return parameters
    before = {} if one_rate else distances(model)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        distance = before.get(parameter, 0)  # what the method adds learns as the head does
        scale = (layer_decay or 1.0) ** distance * (body_rate if distance else 1.0)
        groups.setdefault((scale, decay_all or parameter.ndim > 1), []).append(parameter)
    return [
        {"params": members, "lr_scale": scale, **({} if decayed else {"weight_decay": 0.0})}
        for (scale, decayed), members in groups.items()
    ]


class Schedule(ABC):
    """A learning rate over the run. No state: a resumed run needs nothing but its place."""

    @abstractmethod
    def factor(self, epoch: float, epochs: int) -> float:
        """Factor of the highest learning rate after `epoch` (a fraction within an epoch) of `epochs`."""


class Constant(Schedule):
    """The same learning rate all along."""

    def factor(self, epoch: float, epochs: int) -> float:
        """Return 1."""
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
