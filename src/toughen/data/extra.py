"""Images beside the training set, such as generated ones, that fill a fraction of every batch."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from toughen.data.npz import DAMAGES, Member, NpzImages, members
from toughen.data.order import endless_groups
from toughen.data.source import ImageSet, ImageStore
from toughen.errors import DataError, InputError
from toughen.numbers import check_number

Labeller = Callable[[ImageStore], Tensor]
"""From images to their labels, int64 (N,), on the CPU."""


@dataclass(frozen=True)
class Joined:
    """Two stores of images of one size, one after the other: index len(first) is the second's first image."""

    first: ImageStore
    second: ImageStore

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.first.shape

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`."""
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        from_second = indices >= len(self.first)
        for store, chosen, shift in (
            (self.first, ~from_second, 0),
            (self.second, from_second, len(self.first)),
        ):
            if chosen.any():
                images[chosen] = store.take(indices[chosen] - shift)
        return images


class ExtraImages:
    """More training images, such as generated ones, that make up a fraction of every batch.

    The file has the layout of the published generated data: an .npz with `image`, uint8 N x H x W x C, and `label`,
    integers (N,). Written by `numpy.savez` it stays on the disk and is read batch by batch, unless all training images
    fit on the device; written by `numpy.savez_compressed` it is read into memory.

    An epoch stays one pass over the training images: with fraction r it has 1 / (1 - r) times the batches. The extra
    images come in an endless sequence of shuffled passes of their own, which goes on from epoch to epoch. Their
    indices follow those of the training set, and a method with a memory of every image has room for them too.

    Args:
        path: the .npz file.
        fraction: share of extra images in every batch, above 0 and below 1; 0.3 to 0.7 are usual.
        pseudo_labeller: a run folder whose model labels the images, once, at the start of the run; needed where the
            file has no `label`, and used instead of it where it has one.

    Raises:
        InputError: `fraction` out of range.
    """

    def __init__(self, path: str | Path, fraction: float = 0.5, pseudo_labeller: str | Path | None = None) -> None:
        check_number("extra.fraction", fraction, above=0, below=1, such="0.5")
        self.path = path
        self.fraction = fraction
        self.pseudo_labeller = pseudo_labeller

    def summary(self) -> dict[str, str]:
        """What tells this file from another one: a hash over its arrays' names, sizes and CRC-32.

        Raises:
            DataError: a missing or damaged file.
        """
        path = Path(self.path).expanduser()
        try:
            with ZipFile(path) as archive:
                facts = sorted((each.filename, each.file_size, each.CRC) for each in archive.infolist())
        except DAMAGES as error:
            raise DataError(f"cannot read {path}: {error}; expected an .npz file") from error
        return {"extra": sha256(repr(facts).encode()).hexdigest()[:16]}

    def join(self, training: ImageSet, labeller: Labeller | None = None) -> ImageSet:
        """The training set followed by the extra images.

        Args:
            training: the training set, which says what size and classes are expected.
            labeller: gives the labels; needed with a `pseudo_labeller`.

        Raises:
            DataError: a missing or damaged file, another layout, images of another size, labels outside the classes, or
                neither labels nor a `pseudo_labeller`.
        """
        path = Path(self.path).expanduser()
        arrays = members(path)
        images = _images(path, arrays, training)
        if labeller is not None:
            labels = labeller(images)
        elif "label" in arrays:
            labels = _labels(arrays["label"], len(images), len(training.classes))
        else:
            raise DataError(
                f"{path} has no 'label'; give --extra.pseudo_labeller the folder of a run that is to label its images"
            )
        return ImageSet(
            Joined(training.images, images),
            torch.cat([training.labels, labels]),
            training.classes,
            training.name,
        )


def _images(path: Path, arrays: dict[str, Member], training: ImageSet) -> NpzImages:
    channels, height, width = training.shape
    expected = f"expected 'image', uint8 of shape N x {height} x {width} x {channels}"
    if "image" not in arrays:
        raise DataError(f"{path} has no 'image'; {expected}; found: {', '.join(sorted(arrays)) or 'no array'}")
    member = arrays["image"]
    if member.dtype != np.uint8 or member.shape[1:] != (height, width, channels) or not member.shape[0]:
        shape = " x ".join(map(str, member.shape))
        raise DataError(f"{path}: 'image' is {member.dtype} of shape {shape}; {expected}, as the training images are")
    member.check()
    return NpzImages(member)


def _labels(member: Member, count: int, classes: int) -> Tensor:
    if not np.issubdtype(member.dtype, np.integer) or member.shape != (count,):
        shape = " x ".join(map(str, member.shape))
        raise DataError(
            f"{member.file}: 'label' is {member.dtype} of shape {shape}; expected integers, one an image ({count})"
        )
    labels = torch.from_numpy(np.array(member.read(), dtype=np.int64))
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(
            f"{member.file}: labels lie in {int(labels.min())} .. {int(labels.max())}, expected 0 .. {classes - 1} "
            f"for the data's {classes} classes"
        )
    return labels


@dataclass(frozen=True)
class Filling:
    """A rule by which a loader fills its batches up with extra images.

    Attributes:
        first: index of the first extra image in the loader's image set.
        count: number of extra images, from `first` on.
        fraction: share of extra images in every batch.
    """

    first: int
    count: int
    fraction: float

    def of_batch(self, batch_size: int) -> int:
        """Number of extra images in a full batch.

        Raises:
            InputError: none, all, or more than there are.
        """
        extra = round(self.fraction * batch_size)
        if not 0 < extra < batch_size:
            raise InputError(
                f"extra.fraction: {self.fraction} of a batch of {batch_size} is {extra} images; expected at least one "
                "extra image and one training image in a batch; use another fraction or a larger --batch_size"
            )
        if extra > self.count:
            raise InputError(
                f"extra.fraction: {self.fraction} of a batch of {batch_size} is {extra} images, but there are only "
                f"{self.count} extra ones; use a smaller fraction or batch, or more extra images"
            )
        return extra

    def fill(self, batches: list[Tensor], batch_size: int, seed: int, epoch: int) -> list[Tensor]:
        """An epoch's batches of training images, each followed by its extra images.

        Args:
            batches: indices of training images; every epoch has as many batches.
            batch_size: images in a full batch, extra ones included.
            seed: decides the order.
            epoch: counted from 0.
        """
        extra, start = self.of_batch(batch_size), epoch * len(batches)
        groups = self.first + endless_groups(self.count, extra, seed, start, start + len(batches))
        filled = []
        for batch, group in zip(batches, groups, strict=True):
            share = max(1, round(len(batch) * extra / (batch_size - extra)))  # the last batch may be smaller
            filled.append(torch.cat([batch, group[:share]]))
        return filled
