import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toughen.data import ImageFolder, Split, hold
from toughen.data.survey import survey
from toughen.errors import DataError, InputError, ToughenWarning


@pytest.fixture
def root(tmp_path: Path, write_folder: Callable[..., None]) -> Path:
    write_folder(tmp_path / "scans" / "train", range(60))
    write_folder(tmp_path / "scans" / "test", range(60, 80))
    return tmp_path / "scans"


def test_images_labels_and_names(root: Path, scans: np.ndarray, digits: np.ndarray) -> None:
    train, test = (ImageFolder(str(root), channels=1).load(split) for split in ("train", "test"))
    assert (len(train), len(test), train.shape, train.name) == (60, 20, (1, 8, 8), "scans")
    assert train.classes == test.classes == tuple("0123456789")
    # Files are sorted by class and then by name, which is the scan's number.
    order = sorted(range(60), key=lambda index: (digits[index], index))
    np.testing.assert_array_equal(train.labels, digits[order])
    np.testing.assert_array_equal(train.images.take(torch.arange(60))[:, 0], scans[order])


def test_name_size_and_channels_are_settings(root: Path) -> None:
    images = ImageFolder(root, size=5, name="Scans").load("test")
    assert (images.name, images.shape) == ("Scans", (3, 5, 5))
    assert images.images.take(torch.arange(4)).shape == (4, 3, 5, 5)


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_other_names_of_the_test_folder(root: Path, name: str) -> None:
    (root / "test").rename(root / name)
    assert len(ImageFolder(root).load("test")) == 20


def test_another_test_folder_and_class_folders_at_the_top(root: Path) -> None:
    (root / "test").rename(root.parent / "elsewhere")
    source = ImageFolder(root / "train", test=root.parent / "elsewhere")
    assert (len(source.load("train")), len(source.load("test"))) == (60, 20)
    assert len(ImageFolder(root, test=root.parent / "elsewhere").load("train")) == 60


def test_hidden_files_subfolders_and_other_files(root: Path) -> None:
    (root / "train" / ".cache").mkdir()
    (root / "train" / "3" / "._013.png").write_bytes(b"resource fork")
    (root / "train" / "3" / "notes.txt").write_text("not an image")
    deeper = root / "train" / "3" / "deeper"
    deeper.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(deeper / "one.PNG")
    (root / "train" / "3" / ".ipynb_checkpoints").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "train" / "3" / ".ipynb_checkpoints" / "copy.png")
    with pytest.warns(ToughenWarning, match=r"left out: 1 file is not read \(1 \.txt\)\n.*3/notes\.txt$"):
        images = ImageFolder(root).load("train")
    assert (len(images), len(images.classes)) == (61, 10)
    hold(images, "cpu")


@pytest.fixture
def spoilt(root: Path, photo: np.ndarray) -> Path:
    """Four broken training images and two test images, and files that Pillow writes and this does not read."""
    for name in ("train/0/cut.jpg", "train/7/cut.jpg", "test/1/cut.jpg"):
        Image.fromarray(photo).resize((8, 8)).save(root / name)
        (root / name).write_bytes((root / name).read_bytes()[:-60])
    for name in ("train/3/empty.png", "test/5/empty.png"):
        (root / name).write_bytes(b"")
    (root / "train/4/page.png").write_text("<html>404</html>")
    return root


def test_every_damaged_image_is_named_before_a_run(spoilt: Path) -> None:
    for split, names in (
        ("train", ["0/cut.jpg", "3/empty.png", "4/page.png", "7/cut.jpg"]),
        ("test", ["1/cut.jpg", "5/empty.png"]),
    ):
        for size in (None, 6):  # where images are resized nothing else would look at their headers
            with pytest.raises(DataError) as caught:
                survey(ImageFolder(spoilt, size=size).listed([split]), skip_bad=False)
            _, first, *lines, last = str(caught.value).splitlines()
            assert first == f"{split}: {len(names)} images that cannot be read"
            for line, name in zip(lines, names, strict=True):
                assert str(spoilt / split / name) in line
            assert "--data.skip_bad true" in last


def test_of_many_damaged_images_twenty_are_named(root: Path) -> None:
    damaged = sorted((root / "train").rglob("*.png"))[1:31]
    for path in damaged:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"train: 30 images that cannot be read\n(.*\n){20}  \.\.\. and 10 more\n"):
        survey(ImageFolder(root).listed(["train"]), skip_bad=False)


@pytest.mark.parametrize(("split", "left"), [("train", 60), ("test", 20)])
def test_damaged_images_are_left_out_by_decision(
    spoilt: Path, split: Split, left: int, scans: np.ndarray, digits: np.ndarray
) -> None:
    (spoilt / "train" / "0" / "000.png").write_bytes(b"")  # the one that sets the size, also of the test images
    with pytest.warns(ToughenWarning, match=r"left out: . images? that cannot be read\n"):
        images = ImageFolder(spoilt, channels=1, skip_bad=True).load(split)
    chosen = range(1, 60) if split == "train" else range(60, 80)
    order = sorted(chosen, key=lambda index: (digits[index], index))
    assert len(images) == len(order)
    np.testing.assert_array_equal(images.labels, digits[order])
    np.testing.assert_array_equal(images.images.take(torch.arange(len(order)))[:, 0], scans[order])


def test_a_class_that_is_all_damaged_is_not_left_out(root: Path) -> None:
    for path in (root / "train" / "6").iterdir():
        path.write_bytes(b"")
    said = r"class 6 has no readable image: .*\nand of the others:\ntrain: left out: (.*\n)+.*6/006\.png"
    expect(ImageFolder(root, skip_bad=True), said)


def test_images_of_unknown_kinds_do_not_vanish(root: Path, photo: np.ndarray) -> None:
    for number in range(3):
        Image.fromarray(photo).resize((8, 8)).convert("P").save(root / "train" / "2" / f"{number}.pcx")
    (root / "train" / "1" / "IMG_0001.PSD").write_bytes(b"8BPS")
    (root / "train" / "1" / "Thumbs.db").write_bytes(b"")
    (root / "train" / "1" / ".DS_Store").write_bytes(b"")
    expect(ImageFolder(root), r"train: 4 files are not read \(3 \.pcx, 1 \.psd\)\n.*IMG_0001\.PSD\n(.*pcx\n){3}")
    assert len(ImageFolder(root).load("test")) == 20
    with pytest.warns(ToughenWarning, match=r"left out: 5 files are not read \(3 \.pcx, 1 \.db, 1 \.psd\)"):
        assert len(ImageFolder(root, skip_bad=True).load("train")) == 60
    Image.fromarray(photo).save(root / "test" / "loose.jpg")
    expect(ImageFolder(root), r"test has 1 images in no class folder, such as loose\.jpg", "test")


def test_one_class(root: Path) -> None:
    for split in ("train", "test"):
        for number in range(1, 10):
            shutil.rmtree(root / split / str(number))
    expect(ImageFolder(root), r"train has one class folder, 0; expected at least two")


def test_truncated_image(root: Path, truncate: Callable[[Path], None]) -> None:
    damaged = root / "train" / "3" / "013.png"
    truncate(damaged)
    images = ImageFolder(root).load("train")
    with pytest.raises(DataError, match=f"{damaged} is not a readable image"):
        hold(images, "cpu")


def test_images_of_two_sizes(root: Path) -> None:
    odd = root / "train" / "7" / "odd.png"
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(odd)
    with pytest.raises(DataError, match=r"000\.png is 8 x 8 pixels, .*odd\.png is 12 x 8.*--data\.size 8"):
        hold(ImageFolder(root).load("train"), "cpu")


def test_a_test_set_of_another_size(root: Path) -> None:
    for path in (root / "test").rglob("*.png"):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"train/0/000\.png is 8 x 8 pixels, .*test.* is 16 x 16"):
        hold(ImageFolder(root).load("test"), "cpu")


def expect(source: ImageFolder, message: str, split: Split = "train") -> None:
    with pytest.raises(DataError, match=message):
        source.load(split)


def test_missing_and_empty_folders(root: Path, tmp_path: Path) -> None:
    expect(ImageFolder(tmp_path / "no"), r"no folder at .*/no; expected one with train/ and test/")
    (root / "train").rename(root / "pictures")
    expect(ImageFolder(root), r"has no folder train; found: pictures, test\. ")
    (root / "pictures").rename(root / "train")
    expect(ImageFolder(root, test=tmp_path / "no"), r"no folder at .*/no; .*--data\.test", "test")
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    expect(ImageFolder(empty), r"empty/train has no class folders")
    expect(ImageFolder(empty), r"empty has no folder test or val; found: train", "test")


def test_a_class_folder_without_images(root: Path) -> None:
    for path in (root / "train" / "4").iterdir():
        path.unlink()
    (root / "train" / "4" / "readme.txt").write_text("to be scanned")
    expect(ImageFolder(root), r"class folder .*train/4 has no image; expected files ending in \.bmp")


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_that_differ(root: Path, split: Split) -> None:
    (root / "test" / "5").rename(root / "test" / "five")
    expect(ImageFolder(root), "classes differ: 5 only in .*train; five only in .*test; give both", split)


def test_settings_out_of_range(root: Path) -> None:
    with pytest.raises(InputError, match=r"data\.size"):
        ImageFolder(root, size=0)
    with pytest.raises(InputError, match=r"data\.channels"):
        ImageFolder(root, channels=4)
