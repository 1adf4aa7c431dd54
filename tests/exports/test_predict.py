"""`toughen predict`: classes and probabilities of image files, as the network gives them for the same pixels."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_networks import CLASSES, TRUST
from PIL import Image

import toughen
from toughen.cli.predict import run
from toughen.errors import DataError, InputError, RunError, ToughenWarning
from toughen.run import RunFolder

Make = Callable[[str], RunFolder]


def picture(path: Path, height: int, width: int, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def test_files_and_folders_in_the_order_given(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("own class")
    (tmp_path / "more" / "deep").mkdir(parents=True)
    last = picture(tmp_path / "more" / "deep" / "b.png", 32, 32)
    first = picture(tmp_path / "more" / "a.png", 32, 32, "L")
    (tmp_path / "more" / "notes.txt").write_text("no image")
    alone = picture(tmp_path / "alone.bmp", 32, 32)
    found = toughen.predict(str(folder.path), [str(alone), str(tmp_path / "more")], trust=TRUST)
    assert [each.path for each in found] == [str(alone), str(first), str(last)]
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path).convert("RGB")) for path in (alone, first, last)]))
    with torch.no_grad():
        logits = toughen.load(folder.path, trust=TRUST)(pixels.permute(0, 3, 1, 2).float() / 255)
    sure, labels = logits.softmax(1).max(1)
    assert [each.label for each in found] == [CLASSES[label] for label in labels.tolist()]
    assert [each.probability for each in found] == pytest.approx(sure.tolist(), abs=1e-6)


def test_another_size_is_resized_and_cut_as_in_training(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("own class")
    for split in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "data" / split / name).mkdir(parents=True)
            picture(tmp_path / "data" / split / name / "1.png", 50, 40)
    images = toughen.data.ImageFolder(str(tmp_path / "data"), size=32).load("test").subset(torch.tensor([0]))[0]
    with torch.no_grad():
        wanted = toughen.load(folder.path, trust=TRUST)(images).softmax(1).max()
    (found,) = toughen.predict(str(folder.path), [str(tmp_path / "data" / "test" / "cat")], trust=TRUST)
    assert found.probability == pytest.approx(float(wanted), abs=1e-6)


def test_table_json_and_csv(make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(make_run("own class").path), str(picture(tmp_path / "a,b.png", 32, 32)), "--trust", ",".join(TRUST)]
    (each,) = toughen.predict(words[0], [words[1]], trust=TRUST)
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [vars(each)]
    assert run([*words, "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row == {"path": each.path, "label": each.label, "probability": str(each.probability)}
    assert run(words) == 0
    assert capsys.readouterr().out.split() == [*each.path.split(), each.label, f"{each.probability:.1%}"]


def test_all_files_that_cannot_be_read_are_said_or_left_out(make_run: Make, tmp_path: Path) -> None:
    folder, photos = str(make_run("own class").path), tmp_path / "photos"
    photos.mkdir()
    good = str(picture(photos / "good.png", 32, 32))
    (photos / "cut.png").write_bytes((photos / "good.png").read_bytes()[:200])
    (photos / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(
        DataError, match=r"2 images that cannot be read\n .*cut.png .*\n .*page.jpg .*\n--skip_bad true"
    ):
        toughen.predict(folder, [str(photos)], trust=TRUST)
    with pytest.warns(ToughenWarning, match="left out: 2 images"):
        found = toughen.predict(folder, [str(photos), good], skip_bad=True, trust=TRUST)
    assert [each.path for each in found] == [good, good]
    with pytest.raises(DataError, match=r"page.jpg is not a readable image"):
        toughen.predict(folder, [str(photos / "page.jpg")], skip_bad=True, trust=TRUST)


def test_what_cannot_be_predicted(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("own class")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    for path, why in (("none", "no file or folder"), ("empty", "has no image"), ("text.png", "not a readable image")):
        with pytest.raises(DataError, match=why):
            toughen.predict(str(folder.path), [str(tmp_path / path)], trust=TRUST)
    with pytest.raises(InputError, match="nothing was run"):
        toughen.predict(str(folder.path), [str(tmp_path)])
    older = RunFolder(tmp_path / "older")  # of before a run kept its images' shape
    shutil.copytree(folder.path, older.path)
    older.input.unlink()
    assert toughen.predict(str(older.path), [str(picture(tmp_path / "a.png", 32, 32))], trust=TRUST)
    older.gallery.unlink()
    with pytest.raises(RunError, match="does not say what images"):
        toughen.predict(str(older.path), [str(tmp_path / "a.png")], trust=TRUST)
    with pytest.raises(RunError, match="no run folder"):
        toughen.predict(str(tmp_path / "none"), [str(tmp_path)])
