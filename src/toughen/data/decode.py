"""Decoding of an image (JPEG, PNG, ...) to uint8 pixels of a fixed size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from toughen.data import jpeg
from toughen.errors import DataError, InputError
from toughen.extras import library
from toughen.numbers import check_number

MODES = {1: "L", 3: "RGB"}
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Those of images; others run programs (EPS) or are none, whatever a file's name ends with."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held."""
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of photographs of phones, in bytes 8 to 11 of the file."""
DARK = 2**14
"""A 16-bit image whose values are all below this is nearly black in 8 bits."""


@dataclass(frozen=True)
class Look:
    """What an image is, as it is decoded.

    Attributes:
        height: in pixels, upright.
        width: in pixels, upright.
        odd: what decoding changes beside the size, as keys of `survey.ODD`.
    """

    height: int
    width: int
    odd: frozenset[str] = frozenset()


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

    Of an image of 16 bits the upper 8 are used, of several frames the first.

    Raises:
        DataError: truncated, damaged, not an image, or of more than 16 bits a channel.
    """
    with _reading(file, where):
        # What is resized is Pillow's: the way of pixels into an image of its own takes what the decoder saves.
        plain = jpeg.plain_jpeg(file) if size is None else None
        pixels = plain.pixels() if plain is not None and plain.layers == channels else None
        if pixels is not None:
            return pixels
        with _opened(file, where) as image:
            image = _upright(image, where)
            if image.mode != MODES[channels]:
                image = image.convert(MODES[channels])
            if size is not None:
                image = _resize_and_crop(image, size)
            return np.asarray(image).reshape(image.height, image.width, channels)


def look(file: BinaryIO, where: str, channels: int) -> Look:
    """Decode an image wholly, and say what it is.

    Raises:
        DataError: as `decode`.
    """
    with _reading(file, where):
        plain = jpeg.plain_jpeg(file)
        if plain is not None and plain.pixels() is not None:
            return Look(plain.height, plain.width, frozenset(_other_colours(plain.layers == 3, channels)))
        with _opened(file, where) as image:
            odd = frozenset(_odd(image, channels))  # before it is converted
            upright = _upright(image, where)
            upright.convert(MODES[channels])
            return Look(upright.height, upright.width, odd)


def dimensions(file: BinaryIO, where: str) -> tuple[int, int]:
    """Height and width of an image as `decode` would give it, read from its header only.

    Raises:
        DataError: not an image, or its header is damaged.
    """
    with _reading(file, where), _opened(file, where) as image:
        # Orientations 5 to 8 are quarter turns.
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def _odd(image: Any, channels: int) -> Iterator[str]:
    deep = _is_deep(image)  # before it is loaded, which forgets it
    if getattr(image, "is_animated", False) and image.format in ("GIF", "PNG", "WEBP", "TIFF"):
        yield "frames"
    bands = image.getbands()
    if "A" in bands or "a" in bands:
        if image.getchannel(len(bands) - 1).getextrema()[0] < 255:
            yield "transparent"
    elif "transparency" in image.info:
        yield "transparent"
    if image.mode == "CMYK":
        yield "cmyk"
    if deep:
        yield "dark" if image.mode.startswith("I") and np.asarray(image).max() < DARK else "deep"
    yield from _other_colours(bands[0] not in ("1", "L", "I", "F"), channels)
    if image.getexif().get(ORIENTATION, 1) != 1:
        yield "turned"


def _other_colours(colours: bool, channels: int) -> Iterator[str]:
    if colours != (channels == 3):
        yield "colour" if colours else "grey"


def _is_deep(image: Any) -> bool:
    """Whether the file has 16 bits a channel; colour images of PIL have 8, whatever the file has."""
    return image.mode.startswith("I;16") or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _upright(image: Any, where: str) -> Any:
    """The image in 8 bits a channel, turned as its EXIF orientation says."""
    deep = _is_deep(image)  # before the tags are looked for, which may load it
    turned = image.getexif().get(ORIENTATION, 1) != 1
    if image.mode.startswith(("I", "F")):
        # Converting these with PIL clips at 255, which would turn most of a 16-bit image white.
        if not deep:
            raise DataError(
                f"{where} has pixels of more than 16 bits (mode {image.mode}), whose range nothing tells; save it with "
                "8 bits a channel"
            )
        exif = image.getexif()
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image.getexif()[ORIENTATION] = exif.get(ORIENTATION, 1)
    return ImageOps.exif_transpose(image) if turned else image


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    from torchvision.transforms import functional  # here, because it takes a second to import

    return functional.center_crop(functional.resize(image, [size]), [size, size])


@contextmanager
def _reading(file: BinaryIO, where: str) -> Iterator[None]:
    try:
        with file:
            yield
    except DataError:
        raise
    except Exception as error:  # on damaged files PIL's decoders raise whatever their arithmetic meets
        reason = "unknown format or damaged header" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{where} is not a readable image: {reason}; replace it or leave it out") from error


@contextmanager
def _opened(file: BinaryIO, where: str) -> Iterator[Any]:
    with _open(file) as image:
        if image.width * image.height > jpeg.MOST_PIXELS:
            raise DataError(
                f"{where} is of {image.width:,} x {image.height:,} pixels; expected at most {jpeg.MOST_PIXELS:,}; make "
                "it smaller or leave it out"
            )
        yield image


def _open(file: BinaryIO) -> Any:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        if head[4:8] != b"ftyp" or head[8:] not in HEIF:
            raise
        file.seek(0)
        return library("pillow_heif", "heif").HeifImageFile(file)
