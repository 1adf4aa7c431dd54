"""What is odd among the images of a folder is said at once, before anything is trained."""

import json
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from toughen import train
from toughen.data import ImageFolder
from toughen.data.decode import ORIENTATION, decode, look
from toughen.errors import DataError, ToughenWarning
from toughen.methods import Standard
from toughen.models import SmallCNN

QUICK: dict[str, Any] = {
    "model": partial(SmallCNN, width=2),
    "method": Standard(),
    "epochs": 1,
    "batch_size": 16,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
}


def as_file(image: Image.Image, kind: str = "PNG", **options: object) -> BytesIO:
    file = BytesIO()
    image.save(file, kind, **options)
    return file


def gif(*frames: Image.Image) -> BytesIO:
    return as_file(
        frames[0].convert("P"), "GIF", save_all=True, append_images=[each.convert("P") for each in frames[1:]]
    )


def odd_files(photo: np.ndarray) -> dict[str, tuple[BytesIO, set[str]]]:
    """One file of each kind, and what is odd about it in colour."""
    image = Image.fromarray(photo)
    grey = image.convert("L")
    hole, opaque = image.convert("RGBA"), image.convert("RGBA")
    hole.putpixel((0, 0), (1, 2, 3, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    deep = np.asarray(grey).astype(np.uint16)
    heic = BytesIO()
    pillow_heif.from_pillow(image).save(heic)
    return {
        "plain.jpg": (as_file(image, "JPEG"), set()),
        "opaque.png": (as_file(opaque), set()),
        "heic.heic": (BytesIO(heic.getvalue()), set()),
        "one_frame.gif": (gif(image), set()),
        "frames.gif": (gif(image, image.rotate(90)), {"frames"}),
        "turned.jpg": (as_file(image, "JPEG", exif=exif), {"turned"}),
        "grey.png": (as_file(grey), {"grey"}),
        "bits.png": (as_file(grey.convert("1")), {"grey"}),
        "grey_alpha.png": (as_file(grey.convert("LA")), {"grey"}),
        "hole.png": (as_file(hole), {"transparent"}),
        "palette_hole.png": (as_file(image.convert("P"), transparency=3), {"transparent"}),
        "cmyk.jpg": (as_file(image.convert("CMYK"), "JPEG"), {"cmyk"}),
        "deep.png": (as_file(Image.fromarray(deep * 257)), {"deep", "grey"}),
        "twelve_bits.tif": (as_file(Image.fromarray(deep * 16), "TIFF"), {"dark", "grey"}),
    }


def test_what_is_odd_about_an_image(photo: np.ndarray) -> None:
    for name, (file, odd) in odd_files(photo).items():
        data = file.getvalue()
        found = look(BytesIO(data), name, 3)
        assert found.odd == odd, name
        assert decode(BytesIO(data), name, 3).shape == (found.height, found.width, 3), name
        assert (look(BytesIO(data), name, 1).odd == odd - {"grey"}) == ("grey" in odd), name  # the others are in colour


def test_of_several_frames_the_first_is_decoded(photo: np.ndarray) -> None:
    image = Image.fromarray(photo).convert("P")
    both, first = (decode(BytesIO(gif(*each).getvalue()), "it", 3) for each in ((image, image.rotate(180)), (image,)))
    np.testing.assert_array_equal(both, first)


@pytest.fixture
def odd(tmp_path: Path, photo: np.ndarray) -> Path:
    """One of each odd file among sound ones, which are 20 of 60 x 45 pixels a class and split."""
    root = tmp_path / "photos"
    for split in ("train", "test"):
        for name in ("buds", "petals"):
            (root / split / name).mkdir(parents=True)
            for number in range(20):
                image = Image.fromarray(np.roll(photo[::2, ::2], number, axis=1))
                image.save(root / split / name / f"{number:02d}.png")
    for name, (file, _) in odd_files(photo).items():
        (root / "train" / "buds" / name).write_bytes(file.getvalue())
    (root / "test" / "buds" / "empty.png").write_bytes(b"")
    (root / "train" / "petals" / "cut.jpg").write_bytes(odd_files(photo)["plain.jpg"][0].getvalue()[:-900])
    (root / "train" / "petals" / "page.png").write_text("<html>404</html>")
    (root / "train" / "petals" / "film.mp4").write_bytes(b"")
    (root / "test" / "petals" / "notes.txt").write_text("of May")
    return root


def test_one_report_of_everything_before_anything_is_trained(odd: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DataError) as caught:
        train(ImageFolder(odd), out=str(run), **{**QUICK, "budget": "quick"})
    assert not run.exists()
    said = str(caught.value)
    for text in (
        "2 images that cannot be read",
        "train: 1 file is not read (1 .mp4)",
        "test: 1 image that cannot be read",
        "images of different sizes: 80 of 60 x 45, ",
        "left out: 1 file is not read (1 .txt)",
        "1 image of several frames: the first is taken (train/buds/frames.gif)",
    ):
        assert text in said, text
    assert said.count("--data.skip_bad true") == said.count("--data.size 45") == 1


def test_what_is_left_out_is_said_once_and_kept_in_the_run(odd: Path, tmp_path: Path) -> None:
    with pytest.warns(ToughenWarning) as warned:
        train(ImageFolder(odd, size=16, skip_bad=True), out=str(tmp_path / "run"), **QUICK)
    (only,) = [each for each in warned if issubclass(each.category, ToughenWarning)]
    for name in ("film.mp4", "cut.jpg", "page.png", "turned.jpg", "cmyk.jpg", "frames.gif"):
        assert name in str(only.message)
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    kinds = odd_files(np.zeros((9, 9, 3), np.uint8))
    assert facts["splits"] == {"train": {"buds": 20 + len(kinds), "petals": 20}}
    assert {each["image"] for each in facts["left_out"]} == {
        "train/petals/cut.jpg",
        "train/petals/page.png",
        str(odd / "train" / "petals" / "film.mp4"),
    }
