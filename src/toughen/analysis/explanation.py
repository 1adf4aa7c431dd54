"""What an explanation works on, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.evaluation.statistics.intervals import wilson
from toughen.methods import Method
from toughen.threat import ThreatModel
from toughen.training.trace.record import Record


@dataclass(frozen=True)
class Training:
    """A network as it trains, with its method: what gradients are taken of.

    Attributes:
        model: the network that the method prepared (AR-AT's with split BatchNorm), on the device.
        method: the method, with all that it has learnt.
        batches: batches of training images, not augmented.
        guide: a network that the method learns from or beside, by its name; none for most.
    """

    model: nn.Module
    method: Method
    batches: Sequence[Batch]
    guide: Mapping[str, nn.Module] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """A network, held still, with images of the test set and what an attack makes of them.

    Attributes:
        name: what it is called, such as its run.
        model: in eval mode and fp32, on the device, its parameters without gradients.
        images: N x C x H x W in [0, 1], on the device.
        perturbed: their adversarial examples for this model.
        labels: int64, (N,), on the device.
        classes: names of the classes.
        threat: the threat model.
        seed: of all draws.
        batch_size: images to compute together.
        training: how it was trained; None where only the network is known.
        record: what its training recorded of itself; empty for most.
        transferred: what an attack on other networks makes of the first images, by the network's name.
    """

    name: str
    model: nn.Module
    images: Tensor
    perturbed: Tensor
    labels: Tensor
    classes: Sequence[str]
    threat: ThreatModel
    seed: int = 0
    batch_size: int = 128
    training: Training | None = None
    record: Record = field(default_factory=Record)
    transferred: Mapping[str, Tensor] = field(default_factory=dict)

    def generator(self) -> torch.Generator:
        """A new generator on the CPU; every explanation draws from its own."""
        return torch.Generator().manual_seed(self.seed)

    def first(self, count: int) -> "Explained":
        """The same network with the first images only; they lie in a random order."""
        cut = {name: getattr(self, name)[:count] for name in ("images", "perturbed", "labels")}
        return replace(self, **cut, transferred={name: each[:count] for name, each in self.transferred.items()})

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images, perturbed images and labels, a batch at a time."""
        parts = (each.split(self.batch_size) for each in (self.images, self.perturbed, self.labels))
        yield from zip(*parts, strict=True)

    def over_batches(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """A value for each image, computed a batch at a time without gradients, on the CPU."""
        with torch.no_grad():
            return torch.cat([function(*batch).cpu() for batch in self.batches()])

    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits of the images and of the perturbed ones, N x K each, on the CPU."""
        clean = self.over_batches(lambda images, perturbed, labels: self.model(images))
        return clean, self.over_batches(lambda images, perturbed, labels: self.model(perturbed))


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval.

    Attributes:
        value: the number.
        says: what it is, in a few words.
        interval: 95 % interval over images or batches; None where there is none.
        n: over how many of them.
        values: the value of each, to pair runs by; None where the number is no mean.
        better: which way is the better one, where there is one.
        over: what the values are of; only those of images are the same for every run.
        draws: the number over bootstrap samples of the images, which are the same for every run of as many images.
        reflected: the interval is turned around the number, as its draws are biased; see `resampled`.
    """

    value: float
    says: str
    interval: tuple[float, float] | None = None
    n: int = 0
    values: NDArray[np.float64] | None = None
    better: Literal["high", "low"] | None = None
    over: str = "images"
    draws: NDArray[np.float64] | None = None
    reflected: bool = False

    def less(self, other: "Figure") -> "Figure | None":
        """This figure less another network's, paired image by image; None where they have no images in common."""
        if self.over != "images" or other.over != "images":
            return None
        if self.values is not None and other.values is not None and len(self.values) == len(other.values):
            return mean_of(self.values - other.values, self.says, self.better)
        if self.draws is not None and other.draws is not None and self.n == other.n:
            value = self.value - other.value
            with np.errstate(invalid="ignore"):  # infinite less infinite
                interval = _around(value, _percentiles(self.draws - other.draws), self.reflected)
            return Figure(value, self.says, interval, self.n, better=self.better)
        return None

    def plain(self) -> dict[str, Any]:
        """For JSON, without the single values."""
        interval = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "n": self.n, "says": self.says, "better": self.better}


def mean_of(
    values: ArrayLike | Tensor, says: str, better: Literal["high", "low"] | None = None, over: str = "images"
) -> Figure:
    """The mean of values over images or batches, with Student's 95 % interval; values that are no number are left out.

    >>> mean_of([0.0, 1.0, 2.0], "a mean").interval
    (-1.484137..., 3.484137...)
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    known = given[np.isfinite(given)]
    if not len(known):
        return Figure(float("nan"), says, n=0, better=better, over=over)
    interval = None
    if len(known) > 1:
        half = float(scipy.stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
        interval = (float(known.mean()) - half, float(known.mean()) + half)
    return Figure(float(known.mean()), says, interval, len(known), given, better, over)


def share_of(
    held: ArrayLike | Tensor, says: str, better: Literal["high", "low"] | None = None, over: str = "images"
) -> Figure:
    """The share of images or batches for which something holds, with Wilson's 95 % interval."""
    given = np.asarray(held, dtype=bool).ravel()
    interval = wilson(int(given.sum()), len(given))
    return Figure(float(given.mean()), says, interval, len(given), given.astype(np.float64), better, over)


def resampled(
    statistic: Callable[[Tensor], float],
    n: int,
    says: str,
    generator: torch.Generator,
    better: Literal["high", "low"] | None = None,
    draws: int = 200,
    reflected: bool = False,
) -> Figure:
    """A statistic of n images with its 95 % percentile interval over bootstrap samples of them (Efron 1979).

    Args:
        statistic: from places of images, int64, to the number.
        n: how many images there are.
        says: what the number is.
        generator: of the samples.
        better: which way is the better one.
        draws: how many samples.
        reflected: turn the interval around the number (the basic bootstrap), for a statistic that a sample of the
            images raises, as it does any distance; it then ends at 0.
    """
    value = statistic(torch.arange(n))
    drawn = np.asarray([statistic(torch.randint(n, (n,), generator=generator)) for _ in range(draws)])
    interval = _around(value, _percentiles(drawn), reflected)
    if reflected and interval is not None:
        interval = (max(0.0, interval[0]), max(0.0, interval[1]))
    return Figure(value, says, interval, n, better=better, draws=drawn, reflected=reflected)


def _percentiles(drawn: NDArray[np.float64]) -> tuple[float, float] | None:
    """Those of the draws that are numbers; an infinite one is, and is not interpolated."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def _around(value: float, interval: tuple[float, float] | None, reflected: bool) -> tuple[float, float] | None:
    return (2 * value - interval[1], 2 * value - interval[0]) if reflected and interval is not None else interval


@dataclass(frozen=True)
class Picture:
    """What is to be drawn.

    Attributes:
        kind: lines over x; a histogram of values; a grid of numbers; points in the plane; images in rows.
        title: what is drawn.
        sees: one sentence that says what is seen.
        data: for lines `x` and `y` by name; for a histogram values by name; for a grid `values` (rows of numbers),
            names of `rows` and `columns`, and the `range` of its colours; for points `x`, `y`, `label` and `names`; for
            images `rows` by name, N x C x H x W each.
        axes: names of the x and the y axis.
        limits: between which values a grid's colours, the lines' y or a histogram's x lie; by default the data's own.
    """

    kind: Literal["lines", "histogram", "grid", "points", "images"]
    title: str
    sees: str
    data: Mapping[str, Any]
    axes: tuple[str, str] = ("", "")
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Insight:
    """What an explanation found for one network.

    Attributes:
        sentence: what the figures say, in one sentence.
        figures: by name.
        pictures: to be drawn.
        arrays: columns of equal length, a row an image, batch or layer, for Parquet.
    """

    sentence: str
    figures: dict[str, Figure] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    arrays: Mapping[str, Sequence[Any]] = field(default_factory=dict)


class Explanation(ABC):
    """One way to see why a network withstands or does not. A subclass stores every argument under its own name."""

    title: ClassVar[str]
    """Its heading."""
    source: ClassVar[str]
    """Who argues by it."""

    def passes(self, images: int) -> float:
        """About how many images are passed forward for so many test images, a backward pass counted as two."""
        return 2.0 * images

    @abstractmethod
    def explain(self, explained: Explained) -> Insight | None:
        """What it finds; None where it does not apply to this network."""


def interval_text(figure: Figure, digits: int = 3) -> str:
    """A figure as text: `0.12 (0.10 to 0.14)`."""
    value = f"{figure.value:.{digits}g}"
    return (
        value
        if figure.interval is None
        else f"{value} ({figure.interval[0]:.{digits}g} to {figure.interval[1]:.{digits}g})"
    )
