"""Arrays and tensors that a Python program holds, to train on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.data.splits import check_share, split_by_class
from toughen.data.tensors import image_set
from toughen.errors import DataError, InputError
from toughen.numbers import check_seed


class Arrays(DataSource):
    """Arrays or tensors, in Python: images N x C x H x W, float in [0, 1] or uint8, and labels (N,).

    A run does not keep the images. Whoever resumes or evaluates it gives them again: `train(data, resume=run)`,
    `evaluate(run, data=data)`.

    Args:
        images: the training images; of NumPy, torch, or anything that torch makes tensors of.
        labels: whole numbers from 0 on.
        test_images: the test images; default a share of every class of the training images.
        test_labels: their labels.
        classes: the classes' names, in the order of the labels; default their numbers.
        name: title of figures made on this data.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: images of another shape, type or range; labels that do not fit them.

    >>> data = Arrays(torch.rand(20, 1, 8, 8), torch.arange(20) % 2, classes=["cat", "dog"])
    >>> len(data.load("train")), len(data.load("test"))
    (16, 4)
    """

    in_memory = True

    def __init__(
        self,
        images: Any = None,
        labels: Any = None,
        test_images: Any = None,
        test_labels: Any = None,
        classes: Sequence[str] | None = None,
        name: str = "arrays",
        test_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        check_share(test_share)
        check_seed("data.seed", seed)
        self.classes = None if classes is None else list(classes)
        self.name = name
        self.test_share = test_share
        self.seed = seed
        count = None if classes is None else len(self.classes or ())
        # Under other names than the arguments': a run's configuration cannot hold images.
        self._train = None if images is None else image_set(images, labels, num_classes=count, name=name)
        count = len(self._train.classes) if self._train is not None else count
        self._test = None if test_images is None else image_set(test_images, test_labels, num_classes=count, name=name)
        if self._train is not None and self._test is not None and self._train.shape != self._test.shape:
            raise InputError(f"test_images: expected shape {self._train.shape} as of images, got {self._test.shape}")

    def load(self, split: Split) -> ImageSet:
        """The training or the test images.

        Raises:
            DataError: there are none, as where a run's configuration is all that is known of them.
        """
        given = self._train if split == "train" or self._test is None else self._test
        if given is None:
            raise DataError(again(split, type(self).__name__))
        classes = given.classes if self.classes is None else tuple(self.classes)
        if self._test is not None:
            return replace(given, classes=classes)
        places = torch.tensor(split_by_class(given.labels, self.test_share, self.seed)[split])
        images = Decoded(given.images.tensor[places]) if isinstance(given.images, Decoded) else given.images
        return ImageSet(images, given.labels[places], classes, self.name, drawn=True)


def again(split: Split, source: str) -> str:
    """What to say where images that were in memory are asked for."""
    return (
        f"the {split} images were in the memory of a Python program, and no file has them; give them again: "
        f"toughen.evaluate(run, data={source}(...)), toughen.train({source}(...), resume=run)"
    )
