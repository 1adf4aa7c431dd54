"""Classes of very different numbers that count the same in the loss."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.utils.class_weight import compute_class_weight

from toughen import train
from toughen.batch import Batch
from toughen.data import CutMix, ImageFolder, soften
from toughen.data.mixing import balanced_weights
from toughen.errors import InputError, ToughenWarning
from toughen.methods import PGDAT, TRADES, Method, Perturbed, Standard, total, weighted
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import AWP, Constant

SMALL: dict[str, Any] = {
    "model": partial(SmallCNN, width=4),
    "batch_size": 32,
    "budget": "none",
    "schedule": Constant(),
    "trackers": [],
    "device": "cpu",
}


def test_weights_are_those_of_scikit_learn() -> None:
    labels = np.random.default_rng(0).choice(5, 300, p=[0.5, 0.3, 0.1, 0.08, 0.02])
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    np.testing.assert_allclose(balanced_weights(torch.from_numpy(labels), 5).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("method", [Standard(), TRADES(beta=3)])
def test_a_weight_of_two_is_an_image_twice(method: Method) -> None:
    """To rounding: the same loss and gradient as of a batch in which the images stand so many times."""
    images = torch.rand(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, times = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 2, 1, 3])
    found = []
    for batch in (
        Batch(images, labels, weights=times * 4 / times.sum()),
        Batch(images.repeat_interleave(times, 0), labels.repeat_interleave(times)),
    ):
        torch.manual_seed(0)
        model = SmallCNN(num_classes=3, in_channels=1, width=2).double().eval()  # BatchNorm sees other images
        perturbed = [image + 0.01 for image in batch.images]  # the attack draws a start for each image
        method.under(ThreatModel("linf", 0.1))
        loss = total(weighted(method.terms(model, batch, Perturbed(torch.stack(perturbed))), batch))
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_an_image_that_is_mixed_weighs_in_proportion() -> None:
    batch = Batch(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 1, 0, 1, 0]))
    mixed = soften(batch, 2, 0.1, CutMix(probability=1), torch.Generator().manual_seed(3), torch.tensor([0.5, 2.0]))
    assert mixed.soft is not None and mixed.weights is not None
    share = (mixed.soft[:, 1] - 0.05) / 0.9  # without the smoothing
    torch.testing.assert_close(mixed.weights, 0.5 + 1.5 * share)
    assert mixed.weights.unique().numel() > 2


@pytest.fixture
def few_ones(tmp_path: Path) -> Path:
    """72 scans of 0 and 6 of 1, as files."""
    scans, labels = load_digits(return_X_y=True)
    for label, count in ((0, 72), (1, 6)):
        folder = tmp_path / "scans" / str(label)
        folder.mkdir(parents=True)
        for number, scan in enumerate(scans[labels == label][:count]):
            pixels = np.rint(scan.reshape(8, 8) * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "scans"


def weights(out: Path, folder: Path, **settings: Any) -> bytes:
    said = "58 training images of 0, 5 of 1; --class_weight balanced"
    with pytest.warns(ToughenWarning, match=said):
        train(ImageFolder(folder), out=str(out), **{**SMALL, **settings})
    return (out / "model.safetensors").read_bytes()


def test_classes_that_differ_are_said_and_weighed_in_a_resumed_run_too(few_ones: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": PGDAT(), "awp": AWP(start=1), "class_weight": "balanced"}
    whole = weights(tmp_path / "whole", few_ones, epochs=2, **settings)
    weights(tmp_path / "part", few_ones, epochs=1, **settings)
    train(resume=str(tmp_path / "part"), epochs=2)
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == whole
    assert weights(tmp_path / "other", few_ones, epochs=2, **{**settings, "class_weight": "none"}) != whole


def test_an_unknown_word() -> None:
    with pytest.raises(InputError, match="--class_weight: unknown 'balance'; did you mean 'balanced'"):
        train(class_weight="balance")  # type: ignore[arg-type]
