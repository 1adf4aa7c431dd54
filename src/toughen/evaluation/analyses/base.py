"""What an evaluation may look at beyond its attacks: anything that needs the model and gives plain data."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toughen.attacks.base import PlannedAttack
from toughen.batch import Batch
from toughen.data.order import sample_by_class
from toughen.data.source import ImageSet
from toughen.errors import InputError
from toughen.evaluation.verify import Clean, judge_clean
from toughen.numbers import check_number
from toughen.settings.description import describe
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class AnalysisContext:
    """What an analysis works on.

    Attributes:
        model: frozen on `device`: eval mode, fp32.
        images: the split that the evaluated images come from.
        indices: places of the evaluated images in it, in the order of the verdict table.
        threat: norm and radius.
        attacks: the evaluation's attacks.
        seed: of the evaluation.
        batch_size: images to compute together.
        device: where the model is.
    """

    model: nn.Module
    images: ImageSet
    indices: Tensor
    threat: ThreatModel
    attacks: Sequence[PlannedAttack]
    seed: int
    batch_size: int
    device: torch.device

    def sample(self, count: int | None = None) -> Tensor:
        """Places of `count` evaluated images (default all), drawn by class, in the order of the verdict table."""
        if count is None or count >= len(self.indices):
            return self.indices
        return self.indices[sample_by_class(self.images.labels[self.indices], count, self.seed)]

    def starting_points(self, count: int = 200) -> Tensor:
        """Images to start an attack from, on `device`: `count` drawn by class from the split, and as many of noise."""
        pictures, _ = self.images.subset(sample_by_class(self.images.labels, count, self.seed))
        noise = torch.rand(count, *pictures.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        return torch.cat([pictures, noise]).to(self.device)

    def batches(self, count: int | None = None) -> list[Tensor]:
        """The places of `sample`, cut into batches."""
        return list(self.sample(count).split(self.batch_size))

    def judged(self, count: int | None = None, batch_size: int | None = None) -> Iterator[tuple[int, Clean]]:
        """The images of `sample`, batch by batch, with what the model says of them.

        With each batch comes the seed for attacks on it: the evaluation's plus the position of the first image.
        """
        size = self.batch_size if batch_size is None else batch_size
        for number, places in enumerate(self.sample(count).split(size)):
            batch = Batch(*self.images.subset(places), places)
            yield self.seed + number * size, judge_clean(self.model, batch, self.device)


class Analysis(ABC):
    """A study of the model beside the attacks, such as a curve over eps. It runs after them, in one shard.

    A subclass stores every constructor argument under its own name. What follows from the verdict table alone needs
    none of this: it can be computed from `Verdicts` at any time.
    """

    @property
    def name(self) -> str:
        """Its key in the result's `analyses`; letters, digits and underscores. `EpsCurve` is called eps_curve."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def settings(self) -> dict[str, Any]:
        """Everything that is needed to run it again, as plain data; a change here makes it run again."""
        return describe(self)["init_args"]

    @abstractmethod
    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """What it found, as plain data for result.json; all randomness comes from `context.seed`."""


def check_names(analyses: Sequence[Analysis]) -> None:
    """Raise unless each has a name of its own, under which the result keeps it.

    Raises:
        InputError: naming the one that is there twice.
    """
    names = [analysis.name for analysis in analyses]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"analyses: expected each once, got {name} {names.count(name)} times")


def at_least(least: float, **settings: float) -> None:
    """Raise unless every setting is a whole number as large as that.

    Raises:
        InputError: naming the first that is not.

    >>> at_least(1, images=0)
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: images: expected at least 1, got 0
    """
    for name, value in settings.items():
        check_number(name, value, least=least, whole=True)
