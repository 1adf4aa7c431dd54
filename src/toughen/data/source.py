"""What a data source is, and the set of images that it gives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from toughen.data.order import sample_by_class
from toughen.threat import ThreatModel

Split = Literal["train", "test"]


class ImageStore(Protocol):
    """Images of one size, as uint8, wherever they are kept."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    def __len__(self) -> int:
        """How many images there are."""

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices` (int64, CPU), uint8, n x C x H x W, on the CPU."""


@dataclass(frozen=True)
class Decoded:
    """Images held as one uint8 tensor, N x C x H x W."""

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
        name: what figures made on it are called, such as "CIFAR-10".
    """

    images: ImageStore
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of every image."""
        return self.images.shape

    def subset(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images as float in [0, 1] and labels at `indices`, on the CPU."""
        return self.images.take(indices).float() / 255, self.labels[indices]

    def channel_statistics(self, sample: int = 10_000) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in [0, 1] units, over at most `sample` images, by class."""
        pixels = self.images.take(sample_by_class(self.labels, sample, seed=0)).double() / 255
        deviation = pixels.std(dim=(0, 2, 3)).clamp_min(1e-3)
        return pixels.mean(dim=(0, 2, 3)).tolist(), deviation.tolist()


class DataSource(ABC):
    """Where images come from. The constructor holds settings and reads nothing; `load` reads.

    A subclass stores every constructor argument under its own name, so that a run's `config.yaml` can repeat
    it.
    """

    threat: ClassVar[ThreatModel] = ThreatModel()
    """What a run withstands where nothing else is asked for: the data's customary threat model."""

    @abstractmethod
    def load(self, split: Split) -> ImageSet:
        """The training or the test images.

        Raises:
            DataError: files missing, empty or damaged; the message names the path and what to do.
        """
