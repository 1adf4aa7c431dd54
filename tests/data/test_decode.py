import sys
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toughen.data.decode import ORIENTATION, check_format, decode, dimensions
from toughen.errors import DataError, InputError


def as_file(image: Image.Image, kind: str = "PNG", **options: object) -> BytesIO:
    file = BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def test_lossless_formats_give_the_pixels_back(photo: np.ndarray) -> None:
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode(as_file(Image.fromarray(photo), kind), "it", 3), photo)


def test_jpeg_is_near_the_original(photo: np.ndarray) -> None:
    pixels = decode(as_file(Image.fromarray(photo), "JPEG", quality=95), "it", 3)
    assert np.abs(pixels.astype(int) - photo).mean() < 4


def test_grey_is_the_usual_luma(photo: np.ndarray) -> None:
    grey = decode(as_file(Image.fromarray(photo)), "it", 1)
    assert grey.shape == (*photo.shape[:2], 1)
    assert np.abs(grey[..., 0] - photo @ [0.299, 0.587, 0.114]).max() < 1


def test_grey_becomes_three_equal_channels_and_alpha_is_dropped(scans: np.ndarray, photo: np.ndarray) -> None:
    np.testing.assert_array_equal(
        decode(as_file(Image.fromarray(scans[0])), "it", 3), np.repeat(scans[0][..., None], 3, 2)
    )
    with_alpha = Image.fromarray(np.dstack([photo, np.full(photo.shape[:2], 7, np.uint8)]))
    np.testing.assert_array_equal(decode(as_file(with_alpha), "it", 3), photo)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_images_are_turned_upright(
    orientation: int, upright: Callable[[np.ndarray], np.ndarray], photo: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = upright(photo)
    np.testing.assert_array_equal(decode(as_file(Image.fromarray(photo), exif=exif), "it", 3), expected)
    assert dimensions(as_file(Image.fromarray(photo), exif=exif), "it") == expected.shape[:2]


@settings(deadline=None)  # the first one imports torchvision
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40))
def test_any_image_gets_the_size_asked_for(height: int, width: int, size: int) -> None:
    image = Image.fromarray(np.full((height, width, 3), (10, 100, 200), np.uint8))
    pixels = decode(as_file(image), "it", 3, size)
    # A plain colour stays itself: the crop never reaches outside the image.
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array([10, 100, 200], np.uint8), (size, size, 3)))


def test_resize_keeps_the_middle_and_averages_what_it_shrinks(photo: np.ndarray) -> None:
    height, width = photo.shape[:2]  # 90 x 120
    pixels = decode(as_file(Image.fromarray(photo)), "it", 3, 30)
    middle = photo[:, (width - height) // 2 : (width + height) // 2].astype(float)
    blocks = middle.reshape(30, 3, 30, 3, 3).mean((1, 3))
    # A triangle filter is no box filter, but it comes much nearer to one than leaving pixels out.
    nearest = middle[1::3, 1::3]
    assert np.abs(pixels - blocks).mean() < 0.5 * np.abs(nearest - blocks).mean()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.9])
def test_truncated_images_are_named(kind: str, kept: float, photo: np.ndarray) -> None:
    data = as_file(Image.fromarray(photo), kind).getvalue()
    with pytest.raises(DataError, match=r"cats/7 is not a readable image: .*; replace it or leave it out"):
        decode(BytesIO(data[: int(kept * len(data))]), "cats/7", 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_of_sixteen_bits_the_upper_eight_are_taken(kind: str) -> None:
    values = (np.arange(64) * 1000).astype(np.uint16).reshape(8, 8)
    taken = decode(as_file(Image.fromarray(values), kind), "scan", 1)
    np.testing.assert_array_equal(taken[..., 0], values // 256)
    exif = Image.Exif()
    exif[ORIENTATION] = 3  # upside down
    if kind == "PNG":
        turned = decode(as_file(Image.fromarray(values), kind, exif=exif), "scan", 1)
        np.testing.assert_array_equal(turned, taken[::-1, ::-1])


def test_numbers_without_a_range_are_refused_rather_than_clipped() -> None:
    for values in (np.arange(64, dtype=np.int32) * 100_000, np.linspace(0, 1, 64, dtype=np.float32)):
        with pytest.raises(DataError, match="more than 16 bits"):
            decode(as_file(Image.fromarray(values.reshape(8, 8)), "TIFF"), "scan.tif", 1)


def test_a_photograph_of_a_phone(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(file, quality=100)
    data = file.getvalue()
    image = decode(BytesIO(data), "IMG_1.HEIC", 3)
    assert np.abs(image.astype(int) - photo).mean() < 3
    with pytest.raises(DataError, match=r"IMG_1\.HEIC is not a readable image"):
        decode(BytesIO(data[: len(data) // 2]), "IMG_1.HEIC", 3)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"IMG_1\.HEIC .*pip install 'toughen\[heif\]'"):
        decode(BytesIO(data), "IMG_1.HEIC", 3)


@pytest.mark.parametrize(("size", "channels"), [(0, 3), (-4, 3), (3.5, 3), (32, 2), (None, 4)])
def test_settings_out_of_range(size: int, channels: int) -> None:
    with pytest.raises(InputError, match=r"data\.(size|channels): expected"):
        check_format(size, channels)
