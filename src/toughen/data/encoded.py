"""Images that stay encoded until they are asked for."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from toughen.data.decode import decode, dimensions
from toughen.data.kinds import listed
from toughen.errors import DataError, ToughenWarning
from toughen.reading.files import check_file, readable

SPAN = 64
"""Images that a thread decodes at a stretch."""


class Source(Protocol):
    """A place that encoded images are read from."""

    def __len__(self) -> int:
        """How many images there are."""

    def open(self, index: int) -> BinaryIO:
        """One encoded image."""

    def where(self, index: int) -> str:
        """Name of the image in an error."""


class Files:
    """One encoded image a file."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, index: int) -> BinaryIO:
        """The file, opened.

        Raises:
            DataError: it has gone or may not be read.
        """
        path = Path(self.paths[index])
        with readable(path, "restore it or leave it out", DataError):
            check_file(path)  # a pipe would be waited for
            return path.open("rb")

    def where(self, index: int) -> str:
        """The file's path."""
        return self.paths[index]


class Chosen:
    """Some of another source's images.

    Args:
        source: the other.
        indices: places in it.
    """

    def __init__(self, source: Source, indices: list[int]) -> None:
        self.source = source
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def open(self, index: int) -> BinaryIO:
        """The encoded image."""
        return self.source.open(self.indices[index])

    def where(self, index: int) -> str:
        """Name of the image in the other source."""
        return self.source.where(self.indices[index])


def scan(source: Source, channels: int) -> list[tuple[int, int] | DataError]:
    """Every image decoded, by as many threads as torch may use: its height and width, or what is wrong with it."""
    found: list[tuple[int, int] | DataError] = [(0, 0)] * len(source)

    def look(start: int) -> None:
        for index in range(start, min(start + SPAN, len(source))):
            try:
                height, width, _ = decode(source.open(index), source.where(index), channels).shape
                found[index] = (height, width)
            except DataError as error:
                found[index] = error

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(look, range(0, len(source), SPAN)))
    return found


def sound(source: Source, labels: Tensor, channels: int, classes: tuple[str, ...]) -> tuple[Source, Tensor]:
    """The images that can be decoded, and their labels; a warning names the others.

    Raises:
        DataError: a class has none that can.
    """
    found = scan(source, channels)
    damaged = [each for each in found if isinstance(each, DataError)]
    if not damaged:
        return source, labels
    kept = [index for index, each in enumerate(found) if not isinstance(each, DataError)]
    chosen = labels[kept]
    emptied = sorted(set(labels.tolist()) - set(chosen.tolist()))
    if emptied:
        raise DataError(
            f"class {classes[emptied[0]]} has no readable image: {damaged[0]}; replace its images or remove the class"
        )
    warnings.warn(f"left out (skip_bad): {_named(damaged)}", ToughenWarning, stacklevel=3)
    return Chosen(source, kept), chosen


def first_sound(source: Source, channels: int) -> Source:
    """The first image that can be decoded, alone; the first one where none can."""
    alone = (Chosen(source, [index]) for index in range(len(source)))
    readable = (each for each in alone if not isinstance(scan(each, channels)[0], DataError))
    return next(readable, Chosen(source, [0]))


def _named(damaged: list[DataError]) -> str:
    images = "1 image" if len(damaged) == 1 else f"{len(damaged):,} images"
    return listed(f"{images} that cannot be read", damaged)


class Encoded:
    """An `ImageStore` of encoded images, decoded whenever they are taken.

    Args:
        source: the place they are read from.
        channels: 1 (grey) or 3 (RGB).
        size: every image is resized and cropped to `size` x `size`; None requires images of one size.
        like: without `size`, images whose size these must have too; by default the first image sets it.

    Raises:
        DataError: the first image cannot be read.
    """

    def __init__(self, source: Source, channels: int, size: int | None = None, like: "Encoded | None" = None) -> None:
        self.source = source
        self.size = size
        if size is not None:
            self.shape, self.sized_by = (channels, size, size), "--data.size"
        elif like is not None:
            self.shape, self.sized_by = like.shape, like.sized_by
        else:
            height, width = dimensions(source.open(0), source.where(0))
            self.shape, self.sized_by = (channels, height, width), source.where(0)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`, decoded by as many threads as torch may use (one in a loader's worker).

        Raises:
            DataError: an image that is damaged or of another size, named.
        """
        wanted = indices.tolist()
        pixels = np.empty((len(wanted), *self.shape), dtype=np.uint8)

        def fill(start: int) -> None:
            for place in range(start, min(start + SPAN, len(wanted))):
                pixels[place] = self._decode(wanted[place])

        starts = range(0, len(wanted), SPAN)
        threads = min(torch.get_num_threads(), len(starts))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, starts))
        else:
            for start in starts:
                fill(start)
        return torch.from_numpy(pixels)

    def check(self) -> None:
        """Decode every image, so that a damaged one is found now and not in the middle of a run.

        Raises:
            DataError: images that cannot be read, named together; or one of another size, where sizes must agree.
        """
        found = scan(self.source, self.shape[0])
        damaged = [each for each in found if isinstance(each, DataError)]
        if damaged:
            raise DataError(f"{_named(damaged)}\nReplace them, or leave them out with --data.skip_bad true")
        if self.size is None:
            for index, size in enumerate(found):
                assert not isinstance(size, DataError)
                self._check_size(*size, self.source.where(index))

    def check_sizes(self) -> None:
        """Read every image's header, so that a wrong size is found now and not in the middle of a run.

        Raises:
            DataError: an image of another size, or one with an unreadable header.
        """
        if self.size is None:
            for index in range(len(self)):
                where = self.source.where(index)
                self._check_size(*dimensions(self.source.open(index), where), where)

    def _decode(self, index: int) -> np.ndarray:
        where = self.source.where(index)
        image = decode(self.source.open(index), where, self.shape[0], self.size)
        self._check_size(image.shape[0], image.shape[1], where)
        return image.transpose(2, 0, 1)

    def _check_size(self, height: int, width: int, where: str) -> None:
        expected = self.shape[1:]
        if (height, width) != expected:
            raise DataError(
                f"images of different sizes: {self.sized_by} is {expected[1]} x {expected[0]} pixels, "
                f"{where} is {width} x {height}; bring them to one size with "
                f"--data.size {min(*expected, height, width)}"
            )
