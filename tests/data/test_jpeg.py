from collections.abc import Callable
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from PIL import Image, ImageCms, ImageOps

from toughen.data import jpeg
from toughen.data.decode import ORIENTATION, decode, look
from toughen.errors import DataError

KINDS = {
    f"{subsampling}{' progressive' if progressive else ''}{' in parts' if parts else ''}": {
        "subsampling": subsampling,
        "progressive": progressive,
        "restart_marker_rows": parts,
    }
    for subsampling, progressive, parts in product(("4:4:4", "4:2:2", "4:2:0"), (False, True), (0, 1))
} | {"small tables": {"optimize": True}, "a comment": {"comment": b"of a cat"}, "coarse": {"quality": 1}}


def as_jpeg(pixels: np.ndarray, kind: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def by_pillow(data: bytes, channels: int) -> np.ndarray:
    with Image.open(BytesIO(data)) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("height", "width"), [(90, 120), (89, 119), (17, 1)])
def test_every_kind_has_the_pixels_of_pillow(
    options: dict[str, Any], height: int, width: int, photo: np.ndarray
) -> None:
    piece = photo[:height, :width]
    for channels, pixels in ((3, piece), (1, piece[..., 0])):
        data = as_jpeg(pixels, **options)
        found = jpeg.plain_jpeg(BytesIO(data))
        assert found is not None
        assert found.pixels() is not None  # torchvision reads it, or this test would compare Pillow with itself
        for wanted in (1, 3):
            np.testing.assert_array_equal(decode(BytesIO(data), "it", wanted), by_pillow(data, wanted))
        seen = look(BytesIO(data), "it", 3)
        assert (seen.height, seen.width, seen.odd) == (height, width, {"grey"} if channels == 1 else set())


def test_photographs_from_a_camera() -> None:
    for path in (Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg"):
        data = path.read_bytes()
        np.testing.assert_array_equal(decode(BytesIO(data), path.name, 3), by_pillow(data, 3))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LEFT = {
    "turned": {"exif": exif(6)},
    "turned by XMP": {"xmp": b'<rdf:Description tiff:Orientation="3"/>'},
    "a profile": {"icc_profile": PROFILE},
    "RGB": {"keep_rgb": True},
    "several pictures": {"kind": "MPO", "save_all": True, "append_images": [Image.new("RGB", (120, 90))]},
}


@pytest.mark.parametrize("options", LEFT.values(), ids=LEFT)
def test_what_needs_more_than_a_decoder_is_left_to_pillow(options: dict[str, Any], photo: np.ndarray) -> None:
    data = as_jpeg(photo, **options)
    assert jpeg.plain_jpeg(BytesIO(data)) is None
    np.testing.assert_array_equal(decode(BytesIO(data), "it", 3), by_pillow(data, 3))


def test_four_inks_and_what_follows_the_end_are_left_to_pillow(photo: np.ndarray) -> None:
    inks = BytesIO()
    Image.fromarray(photo).convert("CMYK").save(inks, "JPEG")
    for data in (inks.getvalue(), as_jpeg(photo) + b"\0" * 7):
        assert jpeg.plain_jpeg(BytesIO(data)) is None
        np.testing.assert_array_equal(decode(BytesIO(data), "it", 3), by_pillow(data, 3))


def outcome(data: bytes, channels: int) -> list[Any]:
    found: list[Any] = []
    for read in (decode, look):
        try:
            found.append(read(BytesIO(data), "it", channels))
        except DataError as error:
            found.append(str(error))
    return [found[0].tolist() if isinstance(found[0], np.ndarray) else found[0], found[1]]


def damaged(data: bytes, drawn: np.random.Generator) -> bytes:
    """Other bytes in one place, mostly of the header, or fewer, or more; often with an end that looks whole."""
    at = int(drawn.integers(len(data) if drawn.random() < 0.4 else 300))
    gone, come = drawn.integers(0, 30, 2) if drawn.random() < 0.5 else (1, 1)
    changed = data[:at] + bytes(drawn.integers(0, 256, come, dtype=np.uint8)) + data[at + gone :]
    return changed[:at] + data[-2:] if drawn.random() < 0.1 else changed


def test_damaged_files_are_refused_and_accepted_as_by_pillow(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(0)
    small = photo[:21, :37]
    files = [as_jpeg(small, **options) for options in KINDS.values()]
    broken = [(damaged(files[case % len(files)], drawn), (1, 3)[case % 2]) for case in range(300)]
    ours = [outcome(*each) for each in broken]
    both = [jpeg.plain_jpeg(BytesIO(data)) for data, _ in broken]
    tried = [found is not None and found.pixels() is not None for found in both]
    assert sum(tried) > 50
    assert sum(isinstance(pixels, str) for pixels, _ in ours) > 50
    monkeypatch.setattr(jpeg, "plain_jpeg", lambda file: None)
    assert ours == [outcome(*each) for each in broken]


@pytest.fixture
def anew() -> Any:
    jpeg.decoder_like_pillow.cache_clear()
    yield
    jpeg.decoder_like_pillow.cache_clear()


def brighter(decoder: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *given: decoder(*given).clamp(max=254) + 1


@pytest.mark.parametrize("replaced", [None, brighter])
def test_a_decoder_that_is_missing_or_differs_is_not_used(
    replaced: Callable[..., Any] | None, photo: np.ndarray, anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = jpeg.decoder_like_pillow()
    jpeg.decoder_like_pillow.cache_clear()
    monkeypatch.setattr(jpeg, "_decoder", lambda: replaced and replaced(usual))
    assert jpeg.decoder_like_pillow() is None
    data = as_jpeg(photo)
    np.testing.assert_array_equal(decode(BytesIO(data), "it", 3), by_pillow(data, 3))
