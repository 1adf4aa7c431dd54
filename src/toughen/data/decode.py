"""Decoding of an image (JPEG, PNG, ...) to uint8 pixels of a fixed size."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from toughen.errors import DataError, InputError
from toughen.numbers import check_number

MODES = {1: "L", 3: "RGB"}
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Those of images; others run programs (EPS) or are none, whatever a file's name ends with."""
MOST_PIXELS = 89_478_485
"""Of one image, as PIL's own warning: a small file may unpack to a large one."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""


def check_format(size: int | None, channels: int) -> None:
    """Raise unless these settings of a data source can be used.

    Raises:
        InputError: `size` not None and not a positive whole number; `channels` neither 1 nor 3.
    """
    if size is not None:
        check_number("data.size", size, least=1, whole=True, such="32")
    if channels not in MODES:
        raise InputError(f"data.channels: expected 1 (grey) or 3 (RGB), got {channels!r}")


def decode(file: BinaryIO, where: str, channels: int, size: int | None = None) -> np.ndarray:
    """Pixels of one image, uint8, H x W x C.

    The image is turned the way its EXIF orientation says and converted to grey or RGB. With `size`, its
    shorter side is resized to `size` (bilinear, antialiased) and the middle `size` x `size` pixels are cut
    out.

    Args:
        file: the encoded image.
        where: name of the image in an error.
        channels: 1 or 3.
        size: height and width of the result; None keeps the image's own.

    Raises:
        DataError: truncated, damaged, not an image, or of more than 8 bits a channel.
    """
    with _opened(file, where) as image:
        if image.mode.startswith(("I", "F")):
            # Converting these with PIL clips at 255, which would turn most of a 16-bit image white.
            raise DataError(
                f"{where} has pixels of more than 8 bits (mode {image.mode}); save it with 8 bits a channel"
            )
        if image.getexif().get(ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        image = image.convert(MODES[channels])
        if size is not None:
            image = _resize_and_crop(image, size)
        return np.asarray(image).reshape(image.height, image.width, channels)


def dimensions(file: BinaryIO, where: str) -> tuple[int, int]:
    """Height and width of an image as `decode` would give it, read from its header only.

    Raises:
        DataError: not an image, or its header is damaged.
    """
    with _opened(file, where) as image:
        # Orientations 5 to 8 are quarter turns.
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    from torchvision.transforms import functional  # here, because it takes a second to import

    return functional.center_crop(functional.resize(image, [size]), [size, size])


@contextmanager
def _opened(file: BinaryIO, where: str) -> Iterator[Any]:
    try:
        with file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{where} is of {image.width:,} x {image.height:,} pixels; expected at most {MOST_PIXELS:,}; make "
                    "it smaller or leave it out"
                )
            yield image
    except DataError:
        raise
    except Exception as error:  # on damaged files PIL's decoders raise whatever their arithmetic meets
        reason = "unknown format or damaged header" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{where} is not a readable image: {reason}; replace it or leave it out") from error
