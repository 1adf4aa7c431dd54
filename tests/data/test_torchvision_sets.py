"""Tiny sets of real images in the very file formats that torchvision reads."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from toughen.data import CIFAR10, CIFAR100, SVHN, FashionMNIST, Split
from toughen.errors import DataError

SPLITS: tuple[Split, Split] = ("train", "test")
NOWHERE = "http://127.0.0.1:9/"  # the discard port of this machine: refuses at once


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


@pytest.fixture
def padded(scans: np.ndarray) -> np.ndarray:
    """Scans in the middle of 28 x 28 pixels."""
    return np.pad(scans, ((0, 0), (10, 10), (10, 10)))


@pytest.fixture
def fashion_root(tmp_path: Path, padded: np.ndarray, digits: np.ndarray) -> Path:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(0, 50)), ("t10k", slice(50, 80))):
        write_idx(raw / f"{name}-images-idx3-ubyte", padded[part])
        write_idx(raw / f"{name}-labels-idx1-ubyte", digits[part].astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize(("split", "part"), [("train", slice(0, 50)), ("test", slice(50, 80))])
def test_fashion_mnist(fashion_root: Path, padded: np.ndarray, digits: np.ndarray, split: Split, part: slice) -> None:
    images = FashionMNIST(str(fashion_root)).load(split)
    assert images.shape == (1, 28, 28)
    np.testing.assert_array_equal(images.images.take(torch.arange(len(images)))[:, 0].numpy(), padded[part])
    np.testing.assert_array_equal(images.labels.numpy(), digits[part])
    assert (images.name, images.classes[9], len(images.classes)) == ("Fashion-MNIST", "Ankle boot", 10)


def test_the_folder_may_come_from_the_environment(fashion_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUGHEN_DATA", str(fashion_root))
    assert len(FashionMNIST().load("test")) == 30


@pytest.mark.parametrize("damage", ["truncated", "empty", "an error page instead"])
def test_damaged_idx_file(fashion_root: Path, damage: str, truncate: Callable[[Path], None]) -> None:
    file = fashion_root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    if damage == "truncated":
        truncate(file)
    else:
        file.write_text("" if damage == "empty" else "<!DOCTYPE html><title>404 Not Found</title>")
    with pytest.raises(DataError, match=r"Fashion-MNIST could not be read.*train-images-idx3-ubyte"):
        FashionMNIST(str(fashion_root)).load("train")


def crops(photo: np.ndarray, count: int) -> np.ndarray:
    """32 x 32 windows of the photograph, N x 32 x 32 x 3."""
    return np.stack([photo[i : i + 32, 2 * i : 2 * i + 32] for i in range(count)])


def write_batch(path: Path, pixels: np.ndarray, labels: list[int], key: str) -> None:
    """The published format: rows of 1024 red, 1024 green, 1024 blue values."""
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    path.write_bytes(pickle.dumps({"data": rows, key: labels}))


@pytest.mark.parametrize(
    ("source", "published", "label_key"),
    [(CIFAR10, datasets.CIFAR10, "labels"), (CIFAR100, datasets.CIFAR100, "fine_labels")],
)
def test_cifar(
    source: Any,
    published: Any,
    label_key: str,
    tmp_path: Path,
    photo: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / published.base_folder
    folder.mkdir()
    pixels = crops(photo, 12)
    files = [name for name, _ in published.train_list]
    per_file = 10 // len(files)
    for number, name in enumerate(files):
        part = range(number * per_file, (number + 1) * per_file)
        write_batch(folder / name, pixels[part], [i % 3 for i in part], label_key)
    write_batch(folder / published.test_list[0][0], pixels[10:], [2, 0], label_key)
    meta = folder / published.meta["filename"]
    meta.write_bytes(pickle.dumps({published.meta["key"]: ["red", "green", "blue"]}))
    # torchvision accepts only files with the published checksums: let these be the published ones.
    monkeypatch.setattr(published, "train_list", [[name, md5(folder / name)] for name in files])
    monkeypatch.setattr(published, "test_list", [[name, md5(folder / name)] for name, _ in published.test_list])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5(meta)})

    train, test = (source(str(tmp_path), download=False).load(split) for split in SPLITS)
    assert train.shape == test.shape == (3, 32, 32)
    np.testing.assert_array_equal(train.images.take(torch.arange(10)).permute(0, 2, 3, 1), pixels[:10])
    np.testing.assert_array_equal(test.images.take(torch.arange(2)).permute(0, 2, 3, 1), pixels[10:])
    assert train.labels.tolist() == [i % 3 for i in range(10)]
    assert test.labels.tolist() == [2, 0]
    assert train.classes == ("red", "green", "blue")
    assert train.name == {CIFAR10: "CIFAR-10", CIFAR100: "CIFAR-100"}[source]


def test_svhn(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = crops(photo, 6)
    table = dict(datasets.SVHN.split_list)
    for split, part in (("train", slice(0, 4)), ("test", slice(4, 6))):
        url, name, _ = table[split]
        labels = np.arange(8, 14)[part, None] % 11  # in the files, 10 stands for the digit 0
        savemat(tmp_path / name, {"X": pixels[part].transpose(1, 2, 3, 0), "y": labels})
        table[split] = [url, name, md5(tmp_path / name)]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    train, test = (SVHN(str(tmp_path)).load(split) for split in SPLITS)
    np.testing.assert_array_equal(train.images.take(torch.arange(4)).permute(0, 2, 3, 1), pixels[:4])
    assert train.labels.tolist() == [8, 9, 0, 0]
    assert test.labels.tolist() == [1, 2]
    assert (test.shape, test.name, len(test.classes)) == ((3, 32, 32), "SVHN", 10)


@pytest.mark.parametrize(
    ("source", "file", "folder"),
    [
        (FashionMNIST, "t10k-labels-idx1-ubyte (unpacked)", "FashionMNIST/raw"),
        (CIFAR10, "cifar-10-python.tar.gz", ""),
        (CIFAR100, "cifar-100-python.tar.gz", ""),
        (SVHN, "train_32x32.mat and test_32x32.mat", ""),
    ],
)
@pytest.mark.parametrize("download", [True, False])
def test_without_files_and_network_the_error_says_what_belongs_where(
    source: Any, file: str, folder: str, download: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [NOWHERE])
    monkeypatch.setattr(datasets.CIFAR10, "url", NOWHERE)
    monkeypatch.setattr(datasets.CIFAR100, "url", NOWHERE)
    unreachable = {split: [NOWHERE, name, checksum] for split, (_, name, checksum) in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", unreachable)
    with pytest.raises(DataError) as caught:
        source(str(tmp_path), download=download).load("train")
    message = str(caught.value)
    assert f"{file} into {tmp_path / folder}" in message
    assert "--data.root" in message
    assert ("--data.download true" in message) is not download
