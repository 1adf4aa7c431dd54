"""MAITE's own `evaluate` and protocols with our model, data, attacks and metric; and ours with its data."""

import numpy as np
import pytest
import torch
from maite.protocols import image_classification as protocols
from maite.tasks import evaluate, predict
from torch import nn

import toughen
from toughen.attacks import FGSM
from toughen.data import ImageSet
from toughen.errors import InputError
from toughen.evaluation.maite import MaiteAccuracy, MaiteAttack, MaiteDataset, MaiteModel, pairs
from toughen.evaluation.statistics.intervals import wilson


def test_they_are_what_the_protocols_ask_for(network: nn.Module, images: ImageSet) -> None:
    model, data = MaiteModel(network, images.classes), MaiteDataset(images)
    assert isinstance(model, protocols.Model)
    assert isinstance(data, protocols.Dataset)
    assert isinstance(MaiteAttack(network, FGSM(), eps=0.1), protocols.Augmentation)
    assert isinstance(MaiteAccuracy(), protocols.Metric)
    assert model.metadata["index2label"] == data.metadata["index2label"] == dict(enumerate("0123456789"))
    with pytest.raises(IndexError):
        data[len(data)]


def test_its_evaluate_gives_our_figures(network: nn.Module, images: ImageSet) -> None:
    model, data, metric = MaiteModel(network, images.classes), MaiteDataset(images, first=60), MaiteAccuracy()
    clean, _, _ = evaluate(model=model, dataset=data, metric=metric, batch_size=16)
    attacked, _, seen = evaluate(
        model=model,
        dataset=data,
        metric=metric,
        batch_size=16,
        augmentation=MaiteAttack(network, FGSM(), eps=0.1),
        return_augmented_data=True,
    )
    pictures, labels = images.subset(torch.arange(60))
    how = {"eps": 0.1, "budget": "none", "attacks": {"fgsm": FGSM()}, "checks": False}
    ours = toughen.evaluate(network, pictures, labels, **how)
    assert clean["accuracy"] == pytest.approx(float(ours.accuracies["clean"]))
    assert attacked["accuracy"] == pytest.approx(float(ours.accuracies["fgsm"]))
    right = round(60 * attacked["accuracy"])
    assert (attacked["accuracy_low"], attacked["accuracy_high"]) == wilson(right, 60)
    moved = [np.abs(new - data[row["id"]][0]).max() for batch in seen for new, _, row in zip(*batch, strict=True)]
    assert max(moved) == pytest.approx(0.1, abs=1e-6)
    predictions, _ = predict(model=model, dataset=data, batch_size=7)
    assert torch.tensor(np.concatenate(predictions)).sum(1).allclose(torch.ones(60))


class Elsewhere:
    """Somebody else's data set: bytes, and targets that are probabilities."""

    metadata = {"id": "elsewhere"}  # noqa: RUF012

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[float], dict[str, int]]:
        pixels, label = self.images.images.take(torch.tensor([index]))[0], int(self.images.labels[index])
        target = [0.8 if i == label else 0.02 for i in range(10)]
        return pixels.numpy(), target, {"id": index}


def test_our_evaluate_takes_its_data(network: nn.Module, images: ImageSet) -> None:
    how = {"eps": 0.1, "budget": "none", "attacks": {"fgsm": FGSM()}, "checks": False}
    theirs = toughen.evaluate(network, list(pairs(Elsewhere(images))), **how)
    ours = toughen.evaluate(network, *images.subset(torch.arange(40)), **how)
    assert theirs.accuracies == ours.accuracies


def test_images_of_several_sizes_are_named(network: nn.Module) -> None:
    with pytest.raises(InputError, match="one size, got 1 x 7 x 7 and 1 x 8 x 8"):
        MaiteModel(network)([np.zeros((1, 8, 8)), np.zeros((1, 7, 7))])
