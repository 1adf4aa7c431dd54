"""Images without a split: test images are drawn by class, and stay what they are."""

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from toughen import evaluate, train
from toughen.cli import main
from toughen.commands.evaluations.subject import subject_in_files
from toughen.data import ImageFolder, ImageSet
from toughen.errors import DataError, RunError, ToughenWarning
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.training import Constant

SMALL: dict[str, Any] = {
    "model": partial(SmallCNN, width=2),
    "method": Standard(),
    "epochs": 1,
    "batch_size": 16,
    "budget": "none",
    "schedule": Constant(),
    "trackers": [],
    "device": "cpu",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The scans of 0, 1 and 2 among the first 200, of 2 only every third, as PNG files in class folders."""
    scans, labels = load_digits(return_X_y=True)
    for number, index in enumerate(np.flatnonzero(labels[:200] < 3)):
        if labels[index] < 2 or number % 3 == 0:
            path = tmp_path / "photos" / f"class{labels[index]}" / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(scans[index].reshape(8, 8) * 255 / 16).astype(np.uint8)).save(path)
    return tmp_path / "photos"


def split(run: Path) -> dict[str, str]:
    table = pq.read_table(run / "images.parquet").to_pydict()
    return dict(zip(table["image"], table["split"], strict=True))


def evaluated(run: Path, source: ImageFolder | None = None) -> ImageSet:
    """The test images of a run, as `evaluate` reads them."""
    return subject_in_files(run, None, None, source, None, None, None, None).images


def names(images: ImageSet) -> set[str]:
    store: Any = images.images
    return {store.source.name(place) for place in range(len(images))}


def test_a_share_of_every_class_is_drawn_and_kept(photos: Path, tmp_path: Path) -> None:
    sizes = {each.name: len(list(each.iterdir())) for each in photos.iterdir()}
    for seed in (0, 1):
        train(ImageFolder(photos, seed=seed), out=str(tmp_path / f"run{seed}"), **SMALL)
    kept = split(tmp_path / "run0")
    assert set(kept) == {str(path.relative_to(photos)) for path in photos.rglob("*.png")}
    drawn = Counter(name.partition("/")[0] for name, each in kept.items() if each == "test")
    assert drawn == {name: round(0.2 * size) for name, size in sizes.items()}
    assert split(tmp_path / "run1") != kept
    facts = RunFolder(tmp_path / "run0").read_data()
    assert facts is not None and facts["drawn"]
    assert facts["splits"]["train"] == {name: size - drawn[name] for name, size in sizes.items()}


def test_new_images_change_neither_a_resumed_run_nor_its_evaluation(photos: Path, tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        train(ImageFolder(photos), out=str(tmp_path / name), **{**SMALL, "epochs": 2 if name == "whole" else 1})
    for number in range(30):
        shutil.copy(next(photos.glob("class0/*.png")), photos / "class1" / f"new{number}.png")
    with pytest.warns(ToughenWarning, match="not used: 30 images that have come since"):
        train(resume=str(tmp_path / "resumed"), epochs=2)
    whole, resumed = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "resumed"))
    assert whole == resumed
    kept = split(tmp_path / "whole")
    with pytest.warns(ToughenWarning, match="not used: 30 images"):
        assert names(evaluated(tmp_path / "whole")) == {name for name, each in kept.items() if each == "test"}
    # Whoever asks for another split gets it, of all images.
    assert len(evaluated(tmp_path / "whole", ImageFolder(photos, seed=1))) > sum(
        each == "test" for each in kept.values()
    )


def test_an_evaluation_elsewhere_keeps_the_split_too(photos: Path, tmp_path: Path) -> None:
    train(ImageFolder(photos), out=str(tmp_path / "run"), **SMALL)
    shutil.copy(next(photos.glob("class0/*.png")), photos / "class1" / "new.png")
    with pytest.warns(ToughenWarning, match="not used: 1 images"):
        found = evaluate(tmp_path / "run", out=str(tmp_path / "other"), budget="quick", device="cpu", test_images=9)
    kept = split(tmp_path / "run")
    assert found.result["data"]["n_total"] == sum(each == "test" for each in kept.values())
    assert split(tmp_path / "other") == kept


def test_images_that_have_gone_and_a_damaged_record(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(ImageFolder(photos), out=str(run), **SMALL)
    gone = next(name for name, each in split(run).items() if each == "test")
    (photos / gone).rename(tmp_path / "gone.png")
    with pytest.raises(DataError, match=f"not there any more: 1 of the run's images, such as {gone}"):
        evaluate(run, budget="quick", device="cpu")
    (tmp_path / "gone.png").rename(photos / gone)
    data = (run / "images.parquet").read_bytes()
    (run / "images.parquet").write_bytes(data[:-20])
    assert main(["evaluate", str(run), "--budget", "quick"]) == 2
    assert "images.parquet" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"images\.parquet"):
        train(resume=str(run), epochs=2)


def test_a_damaged_image_that_was_left_out_stays_out(photos: Path, tmp_path: Path) -> None:
    bad = sorted(photos.glob("class0/*.png"))[:3]
    sound = [path.read_bytes() for path in bad]
    for path in bad:
        path.write_bytes(b"")
    with pytest.warns(ToughenWarning, match="left out"):
        train(ImageFolder(photos, skip_bad=True), out=str(tmp_path / "run"), **SMALL)
    assert [split(tmp_path / "run")[str(path.relative_to(photos))] for path in bad] == ["left out"] * 3
    for path, data in zip(bad, sound, strict=True):
        path.write_bytes(data)
    train(resume=str(tmp_path / "run"), epochs=2)
    kept = split(tmp_path / "run")
    assert names(evaluated(tmp_path / "run")) == {name for name, each in kept.items() if each == "test"}
