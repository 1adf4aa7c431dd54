"""A path in the place of a data source: what lies there says which source reads it."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from toughen.cli.train import parser
from toughen.data import Digits, HuggingFace, ImageFolder, Manifest, Parquet, WebDataset, images_at
from toughen.errors import InputError


def asked(*words: str) -> Any:
    request = parser().parse(["--data", *words])
    assert request is not None
    return request.settings["data"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_layout_has_its_source() -> None:
    for file in ("photos/cat/1.jpg", "tars/train-0.tar", "rows/data/train-0.parquet", "labels.csv", "digits/one/1.png"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    saved = datasets.DatasetDict(train=datasets.Dataset.from_dict({"label": [0]}))
    saved.save_to_disk("both")
    saved["train"].save_to_disk("one")
    kinds = {"photos": ImageFolder, "tars": WebDataset, "rows": Parquet, "labels.csv": Manifest}
    for path, kind in {**kinds, "both": HuggingFace, "one": HuggingFace, "./digits": ImageFolder}.items():
        source = asked(path)
        assert (type(source), source.path) == (kind, path)
        assert type(images_at(Path(path).absolute())) is kind
    assert isinstance(asked("digits"), Digits)  # a known name before a folder of that name
    assert isinstance(images_at("digits"), Digits)
    assert type(images_at(Path("digits"))) is ImageFolder
    with pytest.raises(InputError, match="no file or folder at ./fashion_mnist"):
        images_at(Path("fashion_mnist"))


def test_settings_of_the_source_are_given_beside_the_path() -> None:
    Path("photos").mkdir()
    source = asked("photos", "--data.size", "48")
    assert (source.path, source.size) == ("photos", 48)
    assert images_at("photos", size=48, channels=1).channels == 1
    Path("mine.yaml").write_text("data: photos\nepochs: 3\n")
    request = parser().parse(["--config", "mine.yaml", "--data.size", "16"])
    assert request is not None
    assert (request.settings["data"].path, request.settings["data"].size) == ("photos", 16)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone/photos", "--data: no file or folder at gone/photos; expected a folder of images"),
        ("gone.csv", "--data: no file or folder at gone.csv"),
        ("gone", "--data: unknown name 'gone'; .* or the path of your own images"),
        ("a" * 300, "--data: unknown name"),
    ],
)
def test_nothing_there(path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked(path)
