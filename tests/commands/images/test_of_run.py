"""What a training run looks at before it begins."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from toughen import train
from toughen.commands.images.of_run import read_images
from toughen.data import DataSource, Decoded, ImageFolder, ImageSet, Split
from toughen.errors import DataError, RunError, ToughenWarning
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.reports.progress import TrainingProgress, class_counts
from toughen.training import Silent

QUICK: dict[str, Any] = {
    "model": partial(SmallCNN, width=2),
    "method": Standard(),
    "epochs": 1,
    "batch_size": 16,
    "budget": "quick",
    "test_images": 10,
    "trackers": [],
    "device": "cpu",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scans of 0, 1 and 2 among the first 200 as JPEG files, half of them for testing."""
    scans, labels = load_digits(return_X_y=True)
    for index in np.flatnonzero(labels[:200] < 3):
        path = tmp_path / "photos" / ("train", "test")[index % 2] / f"class{labels[index]}" / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(scans[index].reshape(8, 8) * 255 / 16).astype(np.uint8)).save(path)
    return tmp_path / "photos"


def files(folder: Path, split: str) -> list[int]:
    return [len(list((folder / split / f"class{number}").iterdir())) for number in range(3)]


class Begun(Silent):
    """Notes whether a run began."""

    began = False

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        self.began = True


def test_damaged_files_of_both_splits_are_found_before_training(folder: Path, tmp_path: Path) -> None:
    cut, empty = sorted((folder / "train" / "class1").iterdir())[3], folder / "test" / "class2" / "empty.png"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size - 40])
    empty.write_bytes(b"")
    observer = Begun()
    with pytest.raises(DataError) as caught:
        train(ImageFolder(folder, size=8), out=str(tmp_path / "run"), observer=observer, **QUICK)
    assert str(cut) in str(caught.value) and str(empty) in str(caught.value)
    assert not observer.began and not (tmp_path / "run").exists()
    with pytest.warns(ToughenWarning, match="left out"):
        trained = train(
            ImageFolder(folder, size=8, skip_bad=True), out=str(tmp_path / "run"), observer=observer, **QUICK
        )
    assert observer.began and trained.evaluation is not None
    assert "skip_bad: true" in trained.folder.config.read_text()


def test_a_taken_folder_is_refused_before_the_images_are_looked_at(folder: Path, tmp_path: Path) -> None:
    next((folder / "train" / "class1").iterdir()).write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    for overwrite, message in ((False, "not empty"), (True, "not a run folder")):
        with pytest.raises(RunError, match=message):
            train(ImageFolder(folder, size=8), out=str(tmp_path / "run"), overwrite=overwrite, **QUICK)


def test_counts_of_each_class_and_split_are_printed(folder: Path) -> None:
    console = Console(record=True, width=200)
    TrainingProgress(console).read(read_images(ImageFolder(folder), ["train", "test"]).sets)
    lines = console.export_text().splitlines()
    for line, split in zip(lines, ("train", "test"), strict=True):
        counts = files(folder, split)
        named = ", ".join(f"class{number} {count}" for number, count in enumerate(counts))
        assert line == f"{split + ':':<7} {sum(counts)} images of photos, {named}"


def test_of_many_classes_the_smallest_and_the_largest_are_said() -> None:
    labels = torch.arange(12).repeat_interleave(torch.arange(1, 13))
    images = ImageSet(Decoded(torch.zeros(78, 1, 1, 1)), labels, tuple("abcdefghijkl"), "letters")
    assert class_counts(images) == "12 classes of 1 (a) to 12 (l)"


class OneClass(DataSource):
    def load(self, split: Split) -> ImageSet:
        return ImageSet(Decoded(torch.zeros(40, 1, 8, 8, dtype=torch.uint8)), torch.zeros(40).long(), ("cat",), "cats")


def test_one_class_is_an_error_before_training(tmp_path: Path) -> None:
    observer = Begun()
    with pytest.raises(DataError, match="training images of cat alone; expected at least two classes"):
        train(OneClass(), out=str(tmp_path / "run"), observer=observer, **QUICK)
    assert not observer.began and not (tmp_path / "run").exists()


def test_test_images_that_are_not_there_are_missed_before_training(folder: Path, tmp_path: Path) -> None:
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="has no folder test or val"):
        train(ImageFolder(folder), out=str(tmp_path / "run"), **QUICK)
    train(ImageFolder(folder), out=str(tmp_path / "run"), **{**QUICK, "budget": "none"})


class Counted:
    """An observer with what observers had before they were told of the images."""

    steps = 0

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        """Nothing."""

    def stepped(self, step: int) -> None:
        self.steps = step

    def epoch_ended(self, row: dict[str, float]) -> None:
        """Nothing."""

    def finished(self) -> None:
        """Nothing."""


class Failing(Silent):
    def read(self, images: Mapping[Split, ImageSet]) -> None:
        raise OSError("the log cannot be written")


def test_an_observer_without_read_watches_and_one_that_fails_there_loses_no_run(folder: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", {**QUICK, "budget": "none"}
    counted: Any = Counted()
    train(ImageFolder(folder, size=8), out=str(run), observer=counted, **settings)
    assert counted.steps > 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="the log"):
        train(ImageFolder(folder, size=8), out=str(run), overwrite=True, observer=Failing(), **settings)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
