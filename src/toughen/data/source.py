"""Data sources, and the sets of images that they give."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from toughen.data.order import sample_by_class
from toughen.errors import InputError
from toughen.settings.description import changed
from toughen.threat import ThreatModel

Split = Literal["train", "test"]
MOST_CLASSES = 100_000
"""Of data that do not name theirs: the largest label says how many there are."""


class ImageStore(Protocol):
    """Images of one size, as uint8 or as floats in [0, 1], wherever they are kept."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    def __len__(self) -> int:
        """How many images there are."""

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices` (int64, CPU), n x C x H x W, on the CPU."""


@dataclass(frozen=True)
class Decoded:
    """Images held as one tensor, N x C x H x W: uint8, or floats in [0, 1]."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.tensor.shape[1:]
        return channels, height, width

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`."""
        return self.tensor[indices.to(self.tensor.device)].cpu()


@dataclass(frozen=True)
class ImageSet:
    """One split of a data source.

    Attributes:
        images: uint8 images, decoded or still encoded.
        labels: int64, (N,), in 0 .. len(classes) - 1.
        classes: the classes' names, in the order of the labels.
        name: title of figures made on it, such as "CIFAR-10".
        others: files that lie among the images and are none.
        drawn: whether the split was drawn, as the data has none of its own.
    """

    images: ImageStore
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    others: tuple[str, ...] = ()
    drawn: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"ImageSet({self.name}: {len(self):,} images of {len(self.classes):,} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of every image."""
        return self.images.shape

    def subset(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images as float in [0, 1] and labels at `indices`, on the CPU."""
        return in_unit_range(self.images.take(indices)), self.labels[indices]

    def in_order_of(self, classes: Sequence[str], whose: str) -> "ImageSet":
        """The same images with labels that count these classes, which are matched by name.

        Args:
            classes: all names, in the order of the new labels.
            whose: where they come from, for the message, such as "runs/a/classes.json".

        Raises:
            InputError: other names than those of this set; a label that counts none of them.

        >>> pets = ImageSet(Decoded(torch.zeros(2, 1, 4, 4)), torch.tensor([0, 1]), ("cat", "dog"), "pets")
        >>> pets.in_order_of(["dog", "cat"], "the model").labels
        tensor([1, 0])
        """
        names = tuple(classes)
        if names == self.classes:
            return self
        if sorted(names) != sorted(self.classes) or len(set(names)) < len(names):
            raise InputError(_other_classes(names, whose, self))
        # Counting from the end, -1 would become a class.
        wrong = self.labels[(self.labels < 0) | (self.labels >= len(names))]
        if len(wrong):
            raise InputError(
                f"labels of {self.name}: expected values in 0 .. {len(names) - 1}, got {int(wrong[0])} "
                f"({len(wrong):,} of {len(self):,} are out of range); leave out images without a label"
            )
        places = {name: place for place, name in enumerate(names)}
        return replace(self, labels=torch.tensor([places[name] for name in self.classes])[self.labels], classes=names)

    def channel_statistics(self, sample: int = 10_000) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in [0, 1] units, over at most `sample` images, by class."""
        pixels = in_unit_range(self.images.take(sample_by_class(self.labels, sample, seed=0)), torch.float64)
        deviation = pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
        return pixels.mean(dim=(0, 2, 3)).tolist(), deviation.tolist()


def in_unit_range(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images as they are kept, as floats in [0, 1]."""
    return images.to(dtype) if images.is_floating_point() else images.to(dtype) / 255


def _other_classes(names: tuple[str, ...], whose: str, images: ImageSet) -> str:
    """Both lists, and first what only one of them has."""
    here, there = set(images.classes), set(names)
    missing = [name for name in names if name not in here]
    more = [name for name in images.classes if name not in there]
    return (
        f"the classes of {images.name} are not those of {whose}, and classes are matched by name: "
        f"missing there {', '.join(missing) or 'none'}; unknown here {', '.join(more) or 'none'}.\n"
        f"  {whose}: {', '.join(names)}\n  {images.name}: {', '.join(images.classes)}\n"
        "give the data the names that the model was trained with (those of class folders are their folders' names)"
    )


class DataSource(ABC):
    """A place that images come from. The constructor holds settings and reads nothing; `load` reads.

    A subclass stores every constructor argument under its own name, so that a run's `config.yaml` can repeat
    it.
    """

    threat: ClassVar[ThreatModel] = ThreatModel()
    """What a run withstands where nothing else is asked for: the data's customary threat model."""
    in_memory: ClassVar[bool] = False
    """Whether only the program has the images, so that they are given again where a run goes on."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({changed(self)})"

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """The training or the test images.

        Raises:
            DataError: files missing, empty or damaged; the message names the path and what to do.
        """
