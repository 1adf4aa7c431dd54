"""Arrays and data sets of torch, to train on, resume with and evaluate."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from toughen import evaluate, train
from toughen.data import Arrays, DataSource, Digits, TorchDataset
from toughen.errors import DataError, InputError, RunError
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.training import Constant

SMALL: dict[str, Any] = {
    "model": partial(SmallCNN, width=2),
    "method": Standard(),
    "batch_size": 64,
    "val_images": 20,
    "schedule": Constant(),
    "trackers": [],
    "device": "cpu",
    "budget": "none",
}
TRAIN, TEST = (Digits().load(split) for split in ("train", "test"))


def pixels(images: Any) -> torch.Tensor:
    return images.images.take(torch.arange(len(images)))


class Pictures(Dataset):
    """Pairs of a PIL image and a label."""

    def __init__(self, images: Any) -> None:
        self.images, self.labels = pixels(images)[:, 0].numpy(), images.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.labels[index]


def of_arrays() -> DataSource:
    return Arrays(pixels(TRAIN).numpy(), TRAIN.labels.numpy(), pixels(TEST), TEST.labels)


def of_floats() -> DataSource:
    return TorchDataset(*(TensorDataset(pixels(each).float() / 255, each.labels) for each in (TRAIN, TEST)))


def of_pictures() -> DataSource:
    return TorchDataset(Pictures(TRAIN), Pictures(TEST))


def weights(data: DataSource, out: Path, **changes: Any) -> bytes:
    train(data, out=str(out), **{**SMALL, "epochs": 1, "threat": Digits.threat, **changes})
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return weights(Digits(), tmp_path_factory.mktemp("digits") / "run")


@pytest.mark.parametrize("source", [of_arrays, of_floats, of_pictures])
def test_the_same_images_are_the_same_run_and_go_on_where_they_are_given_again(
    source: Any, expected: bytes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert weights(source(), run) == expected
    for call in (lambda: train(resume=str(run), epochs=2), lambda: evaluate(run, budget="quick", device="cpu")):
        with pytest.raises(DataError, match=r"images were in the memory of a Python program.*give them again"):
            call()
    train(source(), resume=str(run), epochs=2)
    assert (run / "model.safetensors").read_bytes() == weights(source(), tmp_path / "whole", epochs=2)
    with pytest.raises((RunError, InputError), match="data|images"):
        train(Arrays(pixels(TEST), TEST.labels), resume=str(run), epochs=3)


def test_an_evaluation_with_the_images_given_again(tmp_path: Path) -> None:
    weights(of_arrays(), tmp_path / "run")
    found = evaluate(tmp_path / "run", data=of_arrays(), budget="quick", device="cpu", test_images=20)
    assert found.result["data"]["n_total"] == len(TEST)


def test_a_share_is_drawn_and_classes_are_named() -> None:
    names = [f"digit {number}" for number in range(10)]
    for source in (Arrays(pixels(TEST), TEST.labels, classes=names), TorchDataset(Pictures(TEST), classes=names)):
        found = {split: source.load(split) for split in ("train", "test")}  # type: ignore[arg-type]
        assert found["train"].classes == tuple(names)
        together = found["train"].labels.bincount() + found["test"].labels.bincount()
        assert together.tolist() == TEST.labels.bincount().tolist()
        assert found["test"].drawn and len(found["test"]) == pytest.approx(0.2 * len(TEST), abs=5)


def test_what_does_not_fit() -> None:
    images, labels = pixels(TEST), TEST.labels
    with pytest.raises(InputError, match="test_images: expected shape"):
        Arrays(images, labels, images[..., :4], labels)
    with pytest.raises(InputError, match="a Dataset with a length, got generator"):
        TorchDataset(each for each in images)
    noisy = [(torch.rand(1, 8, 8), 0) for _ in range(4)]

    class Random(Pictures):
        def __getitem__(self, index: int) -> Any:
            return torch.rand(1, 8, 8), 0

    with pytest.raises(DataError, match="another image each time"):
        TorchDataset(Random(TEST)).load("train")
    with pytest.raises(DataError, match=r"item 0 .*expected values in \[0, 1\].*leave Normalize out"):
        TorchDataset([(image - 2, label) for image, label in noisy]).load("train")
    sizes = [(np.zeros((8, 8 + number), np.uint8), number % 2) for number in range(20)]
    with pytest.raises(DataError, match=r"item \d+ is torch.uint8 of shape \(1, 8, \d+\), the first one"):
        pixels(TorchDataset(sizes).load("train"))
