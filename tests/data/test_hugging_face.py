"""Hugging Face data sets: splits, labels and columns; what cannot be loaded or would run a program."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from toughen.data import HuggingFace
from toughen.errors import DataError, ToughenError

NAMES = list("abcdefghij")
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def rows(tmp_path: Path, write_folder: Callable[..., None]) -> datasets.Dataset:
    """40 scans by number, and their labels."""
    write_folder(tmp_path / "scans", range(40))
    paths = sorted((tmp_path / "scans").rglob("*.png"), key=lambda path: path.name)
    columns = {"id": list(range(40)), "picture": list(map(str, paths)), "label": [int(p.parent.name) for p in paths]}
    features = {"id": datasets.Value("int64"), "picture": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


def test_the_splits_and_what_they_are_called(rows: datasets.Dataset, tmp_path: Path, scans: np.ndarray) -> None:
    secret = rows.map(lambda row: {"label": -1})
    parts = {"train": rows.select(range(20)), "validation": rows.select(range(20, 40)), "test": secret}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    test = HuggingFace(tmp_path / "saved", channels=1).load("test")
    assert (len(test), test.classes) == (20, tuple(NAMES))  # of the labelled ones
    first = test.images.take(torch.tensor([0]))[0, 0]
    assert any(np.array_equal(first, scan) for scan in scans[20:40])
    with pytest.raises(DataError, match="labels of -1 .. 9, expected 0 .. 9; choose another split"):
        HuggingFace(tmp_path / "saved", test="test").load("test")
    with pytest.raises(DataError, match=r"no split holdout \(--data.test\); it has train, validation, test"):
        HuggingFace(tmp_path / "saved", test="holdout").load("test")


def test_a_set_that_was_saved_for_other_columns_has_its_images(
    rows: datasets.Dataset, tmp_path: Path, scans: np.ndarray
) -> None:
    """`set_format` is kept with a set, and leaves columns out of what its rows give."""
    for name, columns in (("labels", ["label"]), ("none", [])):
        rows.with_format("numpy", columns=columns).save_to_disk(tmp_path / name)
        train = HuggingFace(tmp_path / name, channels=1).load("train")
        images = train.images.take(torch.arange(len(train)))[:, 0].numpy()
        assert all(any(np.array_equal(image, scan) for scan in scans[:40]) for image in images)


def test_a_share_is_drawn_where_there_is_one_split(rows: datasets.Dataset, tmp_path: Path) -> None:
    numbers = rows.cast_column("label", datasets.Value("string")).shuffle(seed=0)  # by a list of places
    numbers.save_to_disk(tmp_path / "saved")
    found = {split: HuggingFace(tmp_path / "saved", test_share=0.5).load(split) for split in ("train", "test")}
    test, train = (found[split].labels.bincount(minlength=10) for split in ("test", "train"))
    assert (test + train).tolist() == np.bincount(rows["label"]).tolist()
    assert (test - train).abs().max() <= 1
    assert found["train"].classes == tuple(map(str, range(10)))


def test_a_folder_of_the_hubs_layout(rows: datasets.Dataset, tmp_path: Path) -> None:
    (tmp_path / "cloned").mkdir()
    rows.select(range(30)).to_parquet(tmp_path / "cloned" / "train-00000-of-00001.parquet")
    rows.select(range(30, 40)).to_parquet(tmp_path / "cloned" / "test-00000-of-00001.parquet")
    images = HuggingFace(tmp_path / "cloned").load("test")
    assert (len(images), images.classes) == (10, tuple(NAMES))
    (tmp_path / "cloned" / "cloned.py").write_text("open('canary', 'w')")
    with pytest.raises(DataError, match=r"cloned\.py is a program"):
        HuggingFace(tmp_path / "cloned").load("test")


def test_images_that_lie_elsewhere_and_have_gone(rows: datasets.Dataset, tmp_path: Path) -> None:
    kept = rows.cast_column("picture", datasets.Image(decode=False))
    kept.cast_column("picture", datasets.Image()).save_to_disk(tmp_path / "saved")
    shutil.rmtree(tmp_path / "scans")
    images = HuggingFace(tmp_path / "saved").load("train").images  # save_to_disk has taken them in
    assert images.take(torch.arange(3)).shape == (3, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.remove_columns("picture"), "no column of images; columns: id, label; cast one"),
        (
            lambda rows: rows.rename_column("label", "kind").cast_column("kind", datasets.Value("int64")),
            "no column label",
        ),
        (lambda rows: rows.map(lambda row: {"label": None}), "40 rows have no label in column label"),
        (
            lambda rows: rows.cast_column("label", datasets.Value("float32")),
            "labels of type float in column label; choose another",
        ),
    ],
)
def test_sets_without_usable_columns(
    rows: datasets.Dataset, tmp_path: Path, change: Callable[[datasets.Dataset], datasets.Dataset], message: str
) -> None:
    change(rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=message):
        HuggingFace(tmp_path / "saved").load("train")


def test_names_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot load the data set nobody/nothing: .*expected a name on the hub, or a"):
        HuggingFace("nobody/nothing").load("train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ToughenError, match=r"pip install 'toughen\[datasets\]'"):
        HuggingFace("nobody/nothing").load("train")
