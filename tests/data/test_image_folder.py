from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toughen.data import ImageFolder, Split, hold
from toughen.errors import DataError, InputError


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
    images = ImageFolder(root).load("train")
    assert (len(images), len(images.classes)) == (61, 10)
    hold(images, "cpu")


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
    expect(ImageFolder(root / "train"), r"has no folder train; found: 0, 1, 2, 3, 4\. .*--data\.test")
    expect(ImageFolder(root, test=tmp_path / "no"), r"no folder at .*/no; .*--data\.test", "test")
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    expect(ImageFolder(empty), r"empty/train has no class folders")
    expect(ImageFolder(empty), r"empty has no folder test or val; found: train", "test")


def test_a_class_folder_without_images(root: Path) -> None:
    for path in (root / "train" / "4").iterdir():
        path.unlink()
    (root / "train" / "4" / "readme.txt").write_text("to be scanned")
    expect(ImageFolder(root), r"class folder .*train/4 has no image; expected files ending in \.jpg")


@pytest.mark.parametrize("split", ["train", "test"])
def test_classes_that_differ(root: Path, split: Split) -> None:
    (root / "test" / "5").rename(root / "test" / "five")
    expect(ImageFolder(root), "classes differ: 5 only in .*train; five only in .*test; give both", split)


def test_settings_out_of_range(root: Path) -> None:
    with pytest.raises(InputError, match=r"data\.size"):
        ImageFolder(root, size=0)
    with pytest.raises(InputError, match=r"data\.channels"):
        ImageFolder(root, channels=4)
