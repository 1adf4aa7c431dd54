"""Averages of the weights over training, which are often more robust than the last ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn, update_bn

from toughen.errors import InputError
from toughen.methods import Method
from toughen.models.stages import freeze, has_batch_norm
from toughen.numbers import check_number


class Average(ABC):
    """A rule that averages weights. The averaged network is the one that is validated and reported.

    Attributes:
        estimates: whether BatchNorm statistics are estimated at the end of an epoch instead of averaged.
    """

    estimates = False

    @abstractmethod
    def build(self, model: nn.Module) -> AveragedModel:
        """The average of a network, before its first update."""

    @abstractmethod
    def due(self, epoch: int, last_of_epoch: bool, update: int) -> bool:
        """Whether the average takes in the weights after this update of them, the run's `update`-th (from 1)."""

    def update(self, averaged: AveragedModel, model: nn.Module, method: Method) -> None:
        """Take in the weights of `model`, after a step of `method`; integers and booleans are copied as they are."""
        averaged.update_parameters(model)
        with torch.no_grad():
            for average, current in zip(_tensors(averaged.module), _tensors(model), strict=True):
                # torch averages integers too, and rounds down: a permutation or an index table would be destroyed.
                if not average.is_floating_point() and not average.is_complex():
                    average.copy_(current)

    def update_bn(self, network: nn.Module, images: Iterable[Tensor]) -> None:
        """Make the averaged inference model usable at the end of an epoch."""


class EMA(Average):
    """Exponential moving average of weights and BatchNorm statistics, after every step.

    At a high learning rate the steps' noise cancels out in the averaged weights, whose activations then vary less than
    the averaged statistics say: the averaged network can be at chance on held-out images (seen: 10 % where it had 46 %
    by the images' own statistics) until the rate falls. `estimate` cures that.

    Args:
        decay: share of the average that stays in a step; 0.995 to 0.9995 are usual.
        start: the first epoch (counted from 1) that it follows; until then the network itself is reported.
        estimate: batches of training images on which the averaged network's BatchNorm statistics are estimated at the
            end of every epoch, as SWA does on all of them; 0 keeps the averaged ones, as the published codes do.
    """

    def __init__(self, decay: float = 0.999, start: int = 1, estimate: int = 0) -> None:
        check_number("average.decay", decay, above=0, below=1)
        check_number("average.start", start, least=1, whole=True)
        check_number("average.estimate", estimate, least=0, whole=True)
        self.decay = decay
        self.start = start
        self.estimate = estimate
        self.estimates = estimate > 0

    def build(self, model: nn.Module) -> AveragedModel:
        """Copy the network: the average starts as it is."""
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=True)

    def due(self, epoch: int, last_of_epoch: bool, update: int) -> bool:
        """Whether the epoch is `start` or a later one."""
        return epoch + 1 >= self.start

    def update_bn(self, network: nn.Module, images: Iterable[Tensor]) -> None:
        """Estimate the BatchNorm statistics on the first `estimate` batches."""
        if self.estimates:
            with torch.no_grad():
                update_bn(islice(images, self.estimate), network)


class SuccessEMA(Average):
    """Moving average that stands almost still while the attack of training fails (FGSM-PGK, Jia 2024).

    After every step, for weights and BatchNorm statistics: `average <- a average + (1 - a) weights`. With h the share
    of images that were right at the attack's start and stayed right at its end, a is `decay` where h is below
    `threshold`, else `min(1, 0.99999 h / threshold)`; and never more than `(n + 1) / (n + 10)` in its update n from 0.
    Before the first one it is the initial network.

    Source: the code of Jia et al., Improving Fast Adversarial Training with Prior-Guided Knowledge, TPAMI 2024: decay
    0.999; threshold 0.82 for CIFAR-10, 0.9 for CIFAR-100 and Tiny ImageNet (whose code counts one more right image
    at the start).

    Args:
        decay: share of the average that stays in a step while the attack succeeds, above 0 and below 1.
        threshold: the share h from which the attack counts as failing, above 0.
        only_failing: leave the average as it is in steps in which h is below `threshold`, as CIFAR-100's code does;
            asks the device for h in every step.
    """

    def __init__(self, decay: float = 0.999, threshold: float = 0.82, only_failing: bool = False) -> None:
        check_number("average.decay", decay, above=0, below=1)
        check_number("average.threshold", threshold, "a share", above=0, such="0.82")
        self.decay = decay
        self.threshold = threshold
        self.only_failing = only_failing

    def build(self, model: nn.Module) -> AveragedModel:
        """Copy the network: the average starts as it is."""
        return AveragedModel(model, use_buffers=True)

    def due(self, epoch: int, last_of_epoch: bool, update: int) -> bool:
        """Return True: the average takes in every update."""
        return True

    def decay_after(self, held: Tensor, steps: int) -> Tensor:
        """`a` of the step in which the share `held` stayed right, after `steps` steps."""
        failing = (0.99999 * held / self.threshold).clamp_max(1.0)
        decay = torch.where(held < self.threshold, self.decay, failing)
        return decay.clamp_max((steps + 1) / (steps + 10))

    def update(self, averaged: AveragedModel, model: nn.Module, method: Method) -> None:
        """Take in the weights by the success of the attack in this step.

        Raises:
            InputError: the method does not measure it.
        """
        held = method.attack_failure_rate()
        if held is None:
            raise InputError(
                f"--average SuccessEMA follows the attack's success, which {type(method).__name__} does not measure; "
                "use --average EMA, or --method FGSMPGK"
            )
        if self.only_failing and float(held) < self.threshold:
            return
        steps = int(averaged.n_averaged)
        pairs = list(zip(_tensors(averaged.module), _tensors(model), strict=True))
        averages, weights = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        with torch.no_grad():
            moves = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(moves, 1 - self.decay_after(held, steps))
            torch._foreach_add_(averages, moves)
            for count, current in pairs:
                if not count.is_floating_point():
                    count.copy_(current)
        averaged.n_averaged += 1


class SWA(Average):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of epochs.

    BatchNorm statistics are estimated again at the end of every epoch, on the training images that the method asks for:
    clean ones, or for AR-AT adversarial ones. Until its first update the network itself is reported.

    Args:
        start: the first epoch (counted from 1) whose weights are taken in.
        every_steps: take in the weights after every so many updates of the run instead of at the ends of epochs.
    """

    estimates = True

    def __init__(self, start: int = 51, every_steps: int | None = None) -> None:
        check_number("average.start", start, least=1, whole=True)
        if every_steps is not None:
            check_number("average.every_steps", every_steps, least=1, whole=True)
        self.start = start
        self.every_steps = every_steps

    def build(self, model: nn.Module) -> AveragedModel:
        """Copy the network: the average starts as it is."""
        return AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())

    def due(self, epoch: int, last_of_epoch: bool, update: int) -> bool:
        """Whether this is the last, or every `every_steps`-th, update of an epoch from `start` on."""
        at_place = last_of_epoch if self.every_steps is None else update % self.every_steps == 0
        return at_place and epoch + 1 >= self.start

    def update_bn(self, network: nn.Module, images: Iterable[Tensor]) -> None:
        """Estimate the BatchNorm statistics on these images."""
        with torch.no_grad():
            update_bn(images, network)


def frozen_stages(model: nn.Module, names: Sequence[str], average: Average | None) -> list[nn.Module]:
    """Freeze these stages of a network that is to be averaged; see `freeze`.

    Raises:
        InputError: also where the average would estimate the statistics of a frozen BatchNorm again.
    """
    frozen = freeze(model, names)
    if average is not None and average.estimates and has_batch_norm(frozen):
        raise InputError(
            f"--average {type(average).__name__} estimates the statistics of every BatchNorm again, of those in "
            f"--freeze {','.join(names)} too; take EMA without --average.estimate, or leave one of the two out"
        )
    return frozen


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
