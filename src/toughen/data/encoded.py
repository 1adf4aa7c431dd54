"""Images that stay encoded until they are asked for."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from toughen.data.decode import Look, decode, dimensions, look
from toughen.errors import DataError
from toughen.reading.files import check_file, readable

SPAN = 64
"""Images that a thread decodes at a stretch, at most."""


class Source(Protocol):
    """A place that encoded images are read from."""

    def __len__(self) -> int:
        """How many images there are."""

    def open(self, index: int) -> BinaryIO:
        """One encoded image."""

    def where(self, index: int) -> str:
        """Name of the image in an error."""

    def name(self, index: int) -> str:
        """Its name within the data, wherever these lie: what a run keeps of it."""


class Files:
    """One encoded image a file.

    Args:
        paths: the files.
        root: the folder that their names begin in.
    """

    def __init__(self, paths: list[str], root: str = "") -> None:
        self.paths = paths
        self.root = root

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

    def name(self, index: int) -> str:
        """The file's path from the root."""
        return os.path.relpath(self.paths[index], self.root) if self.root else self.paths[index]


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
        """Name of the image in an error."""
        return self.source.where(self.indices[index])

    def name(self, index: int) -> str:
        """Its name within the data."""
        return self.source.name(self.indices[index])


def scan(source: Source, channels: int) -> list[Look | DataError]:
    """Every image decoded, by as many threads as torch may use: what it is, or what is wrong with it."""
    found: list[Look | DataError] = [Look(0, 0)] * len(source)

    def fill(start: int) -> None:
        for index in range(start, min(start + SPAN, len(source))):
            try:
                found[index] = look(source.open(index), source.where(index), channels)
            except DataError as error:
                found[index] = error

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(0, len(source), SPAN)))
    return found


class Encoded:
    """An `ImageStore` of encoded images, decoded whenever they are taken.

    Args:
        source: the place they are read from.
        channels: 1 (grey) or 3 (RGB).
        size: every image is resized and cropped to `size` x `size`; None requires images of one size.
        like: without `size`, images whose size these must have too; by default the first one that can be read sets it.
    """

    def __init__(self, source: Source, channels: int, size: int | None = None, like: "Encoded | None" = None) -> None:
        self.source = source
        self.channels = channels
        self.size = size
        self.like = like

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width.

        Raises:
            DataError: without `size`, no image can be read.
        """
        return self._sized[0]

    @cached_property
    def _sized(self) -> tuple[tuple[int, int, int], str]:
        """The shape, and what decides it. Read when it is needed: whoever looks at all images names all bad ones."""
        if self.size is not None:
            return (self.channels, self.size, self.size), "--data.size"
        if self.like is not None:
            return self.like._sized
        first: DataError | None = None
        for index in range(len(self.source)):
            where = self.source.where(index)
            try:
                return (self.channels, *dimensions(self.source.open(index), where)), where
            except DataError as error:
                first = first or error
        raise first or DataError("there are no images")

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`, decoded by as many threads as torch may use (one in a loader's worker).

        Raises:
            DataError: an image that is damaged or of another size, named.
        """
        wanted = indices.tolist()
        pixels = np.empty((len(wanted), *self.shape), dtype=np.uint8)

        span = min(SPAN, math.ceil(len(wanted) / torch.get_num_threads()) or 1)

        def fill(start: int) -> None:
            for place in range(start, min(start + span, len(wanted))):
                pixels[place] = self._decode(wanted[place])

        starts = range(0, len(wanted), span)
        threads = min(torch.get_num_threads(), len(starts))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, starts))
        else:
            for start in starts:
                fill(start)
        return torch.from_numpy(pixels)

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
        (_, *expected), sized_by = self._sized
        if [height, width] != expected:
            raise DataError(
                f"images of different sizes: {sized_by} is {expected[1]} x {expected[0]} pixels, "
                f"{where} is {width} x {height}; bring them to one size with "
                f"--data.size {min(*expected, height, width)}"
            )
