"""Any data set of torch's, to train on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toughen.data.arrays import again
from toughen.data.source import MOST_CLASSES, DataSource, ImageSet, Split
from toughen.data.splits import check_share, split_by_class
from toughen.errors import DataError, InputError
from toughen.numbers import check_seed


class TorchDataset(DataSource):
    """Any torch `Dataset` with a length, in Python: it gives pairs of an image and a label.

    An image is one of PIL, an array H x W or H x W x C of uint8, or a tensor C x H x W, float in [0, 1] or uint8; all
    are of one size. It must give the same image each time: leave random changes to `augment`, and normalisation to the
    network. Items are asked for when they are needed, so that they need not fit in memory; each once at the start, for
    its label. A run does not keep them: whoever resumes or evaluates it gives the data set again.

    Args:
        train: the training images.
        test: the test images; default a share of every class of the training images.
        classes: the classes' names, in the order of the labels; default those of `train.classes`, or numbers.
        name: title of figures made on this data.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: a data set without a length; a setting out of range.
    """

    in_memory = True

    def __init__(
        self,
        train: Any = None,
        test: Any = None,
        classes: Sequence[str] | None = None,
        name: str = "dataset",
        test_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        check_share(test_share)
        check_seed("data.seed", seed)
        for given in (train, test):
            if given is not None and not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
                raise InputError(f"data: expected a Dataset with a length, got {type(given).__name__}")
        named = classes if classes is not None else getattr(train, "classes", None)
        self.classes = None if named is None else [str(name) for name in named]
        self.name = name
        self.test_share = test_share
        self.seed = seed
        self._train, self._test = train, test

    def load(self, split: Split) -> ImageSet:
        """The training or the test images, not in memory.

        Raises:
            DataError: there are none, or an item is no pair of an image and a label.
        """
        given = self._train if split == "train" or self._test is None else self._test
        if given is None:
            raise DataError(again(split, type(self).__name__))
        items = Items(given, list(range(len(given))))
        labels = items.labels()
        most = int(labels.max())
        classes = self.classes or list(map(str, range(most + 1)))
        if int(labels.min()) < 0 or most >= min(len(classes), MOST_CLASSES):
            raise DataError(f"{self.name}: labels of {int(labels.min())} .. {most}, expected 0 .. {len(classes) - 1}")
        if self._test is not None:
            return ImageSet(items, labels, tuple(classes), self.name)
        places = split_by_class(labels, self.test_share, self.seed)[split]
        return ImageSet(Items(given, places), labels[places], tuple(classes), self.name, drawn=True)


class Items:
    """An `ImageStore` of a data set's items at these places, asked for when they are taken."""

    def __init__(self, dataset: Any, places: list[int]) -> None:
        if not places:
            raise DataError("data: expected at least one image, got none")
        self.dataset = dataset
        self.places = places
        first, second = self._item(0)[0], self._item(0)[0]
        if not torch.equal(first, second):
            raise DataError(
                "data: item 0 is another image each time; leave random changes out of the data set, train(augment=...) "
                "makes them"
            )
        channels, height, width = first.shape
        self.shape: tuple[int, int, int] = (channels, height, width)
        self.dtype = first.dtype

    def __len__(self) -> int:
        return len(self.places)

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`.

        Raises:
            DataError: an item is no image, or of another size or type than the first one.
        """
        images = torch.empty((len(indices), *self.shape), dtype=self.dtype)
        for place, index in enumerate(indices.tolist()):
            image = self._item(index)[0]
            if image.shape != images.shape[1:] or image.dtype != self.dtype:
                raise DataError(
                    f"data: item {self.places[index]} is {image.dtype} of shape {tuple(image.shape)}, the first one "
                    f"{self.dtype} of shape {self.shape}; bring them to one size and type in the data set"
                )
            images[place] = image
        return images

    def labels(self) -> Tensor:
        """Every item's label, int64 (N,)."""
        return torch.tensor([self._item(index)[1] for index in range(len(self))], dtype=torch.int64)

    def _item(self, index: int) -> tuple[Tensor, int]:
        place = self.places[index]
        try:
            image, label = self.dataset[place][:2]
            return _as_tensor(image), int(label)
        except Exception as error:  # the data set is the user's own
            raise DataError(f"data: item {place} is no pair of an image and a label: {error}") from error


def _as_tensor(image: Any) -> Tensor:
    if isinstance(image, Tensor):
        if image.ndim != 3 or not (image.dtype == torch.uint8 or image.is_floating_point()):
            raise TypeError(f"expected C x H x W, float or uint8, got {image.dtype} of shape {tuple(image.shape)}")
        if image.is_floating_point() and not (0 <= float(image.min()) <= float(image.max()) <= 1):
            raise ValueError(
                f"expected values in [0, 1], got {float(image.min()):.4g} .. {float(image.max()):.4g}; leave Normalize "
                "out of the data set, the network has it"
            )
        return image.float() if image.is_floating_point() else image
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise TypeError(f"expected uint8, H x W or H x W x C, got {pixels.dtype} of shape {pixels.shape}")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
