"""JPEG files that torchvision's libjpeg decodes to the very pixels of Pillow, in a fraction of the time.

Pillow stays the measure: what is not surely read alike (CMYK, arithmetic coding, a file that is cut off, ...) is left
to it, and where the two libraries' pixels differ, or torchvision has no decoder, everything is.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import product
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

START, END = b"\xff\xd8\xff", b"\xff\xd9"
FRAMES = (0xFFC0, 0xFFC1, 0xFFC2)
"""Markers of what both decode: baseline, extended and progressive, by Huffman's code."""
TABLES = (0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE)
"""Markers of Huffman and quantisation tables, restarts and comments: read by the decoder alone, or by nobody."""
JFIF, SCAN = 0xFFE0, 0xFFDA
"""Markers of how large a pixel is meant to be, and of the pixels."""
SEGMENT = Struct(">HH")
"""Marker and length; the length counts its own two bytes."""
FRAME = Struct(">BHHB")
"""Bits, height, width and layers, after the length."""
WHOLE_JFIF = 16
"""Length of JFIF's part at least."""
MOST_PIXELS = 89_478_485
"""Of one image, as PIL's own warning: a small file may unpack to a large one."""
MOST_BYTES = 2**28
"""Of a file: larger ones are for Pillow, which does not read them at once."""
UNCHANGED = 0
"""torchvision's number for a grey image as one channel, and a colour image as three."""


@dataclass(frozen=True)
class Jpeg:
    """A file as its header says it is.

    Attributes:
        data: all of the file.
        height: in pixels.
        width: in pixels.
        layers: 1 (grey) or 3 (colour).
    """

    data: bytes
    height: int
    width: int
    layers: int

    def pixels(self) -> np.ndarray | None:
        """Height x width x layers; None where Pillow has to say what they are, or what is wrong."""
        decoder = decoder_like_pillow()
        return None if decoder is None else _decoded(decoder, self.data)


def plain_jpeg(file: BinaryIO) -> Jpeg | None:
    """The file as a JPEG, or None if it is for Pillow; at its start again."""
    data = file.read(len(START))
    if data == START:
        data += file.read(MOST_BYTES)
    file.seek(0)
    return _described(data) if data.startswith(START) and data.endswith(END) and len(data) < MOST_BYTES else None


def _described(data: bytes) -> Jpeg | None:
    at, size = 2, None
    while at + SEGMENT.size <= len(data):
        marker, length = SEGMENT.unpack_from(data, at)
        if marker == SCAN and size is not None:
            return Jpeg(data, *size)
        if marker in FRAMES and at + SEGMENT.size + FRAME.size <= len(data):
            precision, height, width, layers = FRAME.unpack_from(data, at + SEGMENT.size)
            if size is not None or precision != 8 or layers not in (1, 3) or height * width > MOST_PIXELS:
                return None
            size = (height, width, layers)
        elif marker not in TABLES and (marker != JFIF or length < WHOLE_JFIF):
            return None  # as what applications have added: it may turn the image
        at += 2 + length
    return None


@cache
def decoder_like_pillow() -> Any | None:
    """torchvision's decoder; None if there is none, or if its libjpeg gives other pixels than Pillow's.

    There are several libraries of that name, which differ in how they enlarge colour that is stored at half the size.
    """
    decoder = _decoder()
    return decoder if decoder is not None and all(_alike(decoder, sample) for sample in _samples()) else None


def _decoder() -> Any | None:
    # The file of the decoder alone: importing torchvision takes as long as decoding ten thousand images. Its Python
    # functions warn at every call that torchvision will do without them.
    package = find_spec("torchvision")
    for folder in (package and package.submodule_search_locations) or ():
        for library in [*Path(folder).glob("image*.so"), *Path(folder).glob("image*.pyd")]:
            try:
                torch.ops.load_library(library)
                return torch.ops.image.decode_jpeg.default
            except (OSError, AttributeError, RuntimeError):  # made for another torch, or without libjpeg
                continue
    return None


def _samples() -> list[bytes]:
    """Small files of every kind: colour at full, half and quarter size, in one scan and in several, and grey."""
    drawn = np.random.default_rng(0)
    colours = Image.fromarray(drawn.integers(0, 256, (19, 37, 3), dtype=np.uint8))
    files = []
    for image, subsampling, progressive in product((colours, colours.convert("L")), (0, 1, 2), (False, True)):
        file = BytesIO()
        image.save(file, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
        files.append(file.getvalue())
    return files


def _alike(decoder: Any, data: bytes) -> bool:
    pixels = _decoded(decoder, data)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(image)
    return pixels is not None and np.array_equal(pixels.reshape(expected.shape), expected)


def _decoded(decoder: Any, data: bytes) -> np.ndarray | None:
    try:
        found = decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), UNCHANGED, False)
    except RuntimeError:  # damaged: Pillow has the words for it
        return None
    pixels: np.ndarray = found.permute(1, 2, 0).numpy()
    return pixels
