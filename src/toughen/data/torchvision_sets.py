"""Well-known data sets through torchvision's own loaders."""

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.errors import DataError

# torchvision is imported in the methods: it takes a second, and `toughen list` reads this module.


def default_root() -> Path:
    """Folder of downloads: `$TOUGHEN_DATA`, or `~/.cache/toughen`."""
    return Path(os.environ.get("TOUGHEN_DATA") or "~/.cache/toughen").expanduser()


class _Downloaded(DataSource):
    """What the sets below share: a folder, a download, and an error that says which files belong where."""

    title: str

    def __init__(self, root: str | None = None, download: bool = True) -> None:
        self.root = root
        self.download = download

    @abstractmethod
    def _read(self, root: Path, split: Split) -> tuple[Any, Any, tuple[str, ...]]:
        """Pixels (N x C x H x W), labels and class names."""

    @abstractmethod
    def _wanted(self, root: Path) -> str:
        """Which files torchvision reads, and where."""

    def load(self, split: Split) -> ImageSet:
        """The training or the test images.

        Raises:
            DataError: the files are not there and cannot be downloaded, or are damaged.
        """
        root = default_root() if self.root is None else Path(self.root).expanduser()
        try:
            pixels, labels, classes = self._read(root, split)
        except (OSError, RuntimeError, ValueError, AssertionError, TypeError, LookupError, MemoryError) as error:
            # What torchvision raises for a missing network, a missing file and a damaged one.
            advice = "" if self.download else ", or fetch them with --data.download true"
            raise DataError(
                f"{self.title} could not be read from {root}: {str(error).strip() or type(error).__name__}. "
                f"Put {self._wanted(root)}{advice}; another folder is chosen with --data.root or TOUGHEN_DATA"
            ) from error
        images, numbers = np.ascontiguousarray(pixels), np.asarray(labels, dtype=np.int64)
        known = images.ndim == 4 and numbers.shape == images.shape[:1] and images.size and numbers.size
        if not known or not 0 <= numbers.min() <= numbers.max() < len(classes):
            raise DataError(
                f"{self.title} in {root} has images of shape {images.shape} and labels of shape {numbers.shape}, "
                f"expected a label from 0 to {len(classes) - 1} for each image; fetch its files again"
            )
        return ImageSet(Decoded(torch.from_numpy(images)), torch.from_numpy(numbers), classes, self.title)


class FashionMNIST(_Downloaded):
    """70,000 grey 28 x 28 pictures of clothes in 10 classes (Xiao et al. 2017), 31 MB.

    Args:
        root: folder of the downloads; default `$TOUGHEN_DATA`, or `~/.cache/toughen`.
        download: whether to fetch files that are missing.
    """

    title = "Fashion-MNIST"

    def _read(self, root: Path, split: Split) -> tuple[Any, Any, tuple[str, ...]]:
        from torchvision import datasets

        read = datasets.FashionMNIST(root, train=split == "train", download=self.download)
        return read.data.unsqueeze(1).numpy(), read.targets.numpy(), tuple(read.classes)

    def _wanted(self, root: Path) -> str:
        from torchvision import datasets

        files = ", ".join(name.removesuffix(".gz") for name, _ in datasets.FashionMNIST.resources)
        return f"{files} (unpacked) into {root / 'FashionMNIST' / 'raw'}"


class CIFAR10(_Downloaded):
    """60,000 colour 32 x 32 pictures of animals and vehicles in 10 classes (Krizhevsky 2009), 170 MB.

    Args:
        root: folder of the downloads; default `$TOUGHEN_DATA`, or `~/.cache/toughen`.
        download: whether to fetch files that are missing.
    """

    title = "CIFAR-10"

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10

    def _read(self, root: Path, split: Split) -> tuple[Any, Any, tuple[str, ...]]:
        read = self._dataset()(root, train=split == "train", download=self.download)
        return read.data.transpose(0, 3, 1, 2), read.targets, tuple(read.classes)

    def _wanted(self, root: Path) -> str:
        published = self._dataset()
        unpacked = f"the folder {published.base_folder} unpacked from {published.filename}"
        return f"{published.filename if self.download else unpacked} into {root}"


class CIFAR100(CIFAR10):
    """60,000 colour 32 x 32 pictures of things and beings in 100 classes (Krizhevsky 2009), 169 MB.

    Args:
        root: folder of the downloads; default `$TOUGHEN_DATA`, or `~/.cache/toughen`.
        download: whether to fetch files that are missing.
    """

    title = "CIFAR-100"

    def _dataset(self) -> Any:
        from torchvision import datasets

        return datasets.CIFAR100


class SVHN(_Downloaded):
    """99,289 colour 32 x 32 pictures of house-number digits (Netzer et al. 2011), 246 MB.

    The 73,257 training and 26,032 test images; the 531,131 'extra' ones are not used.

    Args:
        root: folder of the downloads; default `$TOUGHEN_DATA`, or `~/.cache/toughen`.
        download: whether to fetch files that are missing.
    """

    title = "SVHN"

    def _read(self, root: Path, split: Split) -> tuple[Any, Any, tuple[str, ...]]:
        from torchvision import datasets

        read = datasets.SVHN(root, split=split, download=self.download)
        return read.data, read.labels, tuple(str(digit) for digit in range(10))

    def _wanted(self, root: Path) -> str:
        from torchvision import datasets

        return f"{' and '.join(datasets.SVHN.split_list[split][1] for split in ('train', 'test'))} into {root}"
