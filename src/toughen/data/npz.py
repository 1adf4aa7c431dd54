"""Arrays in .npz files, read from the disk when they are needed."""

import lzma
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from toughen.errors import DataError
from toughen.hardware.memory import available_memory
from toughen.reading.files import check_file, check_unpacked
from toughen.reading.schema import UnfitError

LOCAL_HEADER = 30
"""Bytes of a zip member's own header before its name and extra field."""
DAMAGES = (
    *(OSError, ValueError, EOFError, BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError, OverflowError, KeyError, SyntaxError, UnfitError),
)
"""What zipfile and NumPy raise on files that are damaged or of another format."""


@dataclass(frozen=True)
class Member:
    """One array of an .npz file: what its header says, and where it begins in the file.

    Attributes:
        file: the .npz file.
        name: the array's name.
        shape: its shape.
        dtype: its type.
        fortran: whether its first axis runs fastest.
        offset: where its values begin in the file; None where they are compressed.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int | None

    def check(self) -> None:
        """Read the array's bytes once: they must have the checksum that was written with them.

        Raises:
            DataError: they have not; a mapped array would give other images without a word.
        """
        try:
            with ZipFile(self.file) as archive, archive.open(f"{self.name}.npy") as opened:
                while opened.read(1 << 24):
                    pass
        except DAMAGES as error:
            raise _damaged(self.file, error) from error

    def read(self) -> np.ndarray:
        """The array: mapped from the disk, or in memory where it is compressed.

        Raises:
            DataError: the file is damaged or has gone; the array is compressed and does not fit into memory, or holds
                Python objects.
        """
        if self.dtype.hasobject:
            raise DataError(f"{self.file}: '{self.name}' holds Python objects; expected numbers")
        try:
            if self.offset is not None:
                order: Literal["F", "C"] = "F" if self.fortran else "C"
                return np.memmap(self.file, self.dtype, "r", self.offset, self.shape, order)
            needed, available = math.prod(self.shape) * self.dtype.itemsize, available_memory()
            if needed > available:
                raise DataError(
                    f"{self.file}: '{self.name}' is compressed and its {needed / 1e9:.1f} GB do not fit into memory "
                    f"({available / 1e9:.1f} GB free); save it with numpy.savez, which does not compress"
                )
            with ZipFile(self.file) as archive, archive.open(f"{self.name}.npy") as opened:
                return npy.read_array(opened, allow_pickle=False)
        except DAMAGES as error:
            raise _damaged(self.file, error) from error


def members(path: Path) -> dict[str, Member]:
    """The arrays of an .npz file by name, their headers read only.

    Raises:
        DataError: no such file, or none that `numpy.savez` wrote.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}; expected an .npz file with images")
    try:
        size = check_file(path)
        with ZipFile(path) as archive:
            check_unpacked(size, sum(info.file_size for info in archive.infolist()))
            names = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename[:-4]: _member(path, archive, info) for info in names}
    except DAMAGES as error:
        raise _damaged(path, error) from error


def _member(path: Path, archive: ZipFile, info: ZipInfo) -> Member:
    with archive.open(info) as opened:
        version = npy.read_magic(opened)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(opened)
        header = opened.tell()
    if info.file_size != header + math.prod(shape) * dtype.itemsize and not dtype.hasobject:
        raise UnfitError(f"{info.filename} has {info.file_size:,} bytes, not those of {dtype} of shape {shape}")
    offset = None
    if info.compress_type == ZIP_STORED:
        # The zip's directory gives the place of the member's own header, whose length only that header knows.
        with path.open("rb") as file:
            file.seek(info.header_offset)
            own = file.read(LOCAL_HEADER)
        offset = info.header_offset + LOCAL_HEADER + sum(np.frombuffer(own[26:30], "<u2").tolist()) + header
    return Member(path, info.filename[:-4], shape, dtype, fortran, offset)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable .npz file: {error}; download it or write it with numpy.savez again")


class NpzImages:
    """An `ImageStore` of uint8 images, N x H x W x C, that stay in an .npz file until they are taken.

    Args:
        member: the array; uint8 of four dimensions.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        # A mapped array is opened by whoever takes images from it: it would be copied whole into a loader's worker.
        self.array = member.read() if member.offset is None else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, height, width, channels = self.member.shape
        return channels, height, width

    def __len__(self) -> int:
        return self.member.shape[0]

    def take(self, indices: Tensor) -> Tensor:
        """The images at `indices`.

        Raises:
            DataError: the file has gone.
        """
        array = self.member.read() if self.array is None else self.array
        return torch.from_numpy(np.asarray(array[indices.numpy()]).transpose(0, 3, 1, 2).copy())
