"""An attack that does nothing is said, once; one that works is not."""

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen import train
from toughen.batch import Batch
from toughen.errors import ToughenWarning
from toughen.methods import FGSMRS, PGDAT, TRADES, VAT, Method, Perturbed
from toughen.models import SmallCNN
from toughen.reports.page import write_report
from toughen.threat import ThreatModel
from toughen.training import Guards
from toughen.training.checkpoint import load_state
from toughen.training.guards.attack import gain

SMALL: dict[str, Any] = {
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 20,
    "train_images": 100,
    "val_images": 20,
    "model": partial(SmallCNN, width=4),
    "guards": Guards(check_every=2),
}


class Returning(PGDAT):
    """A method whose attack returns the images as they are."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(batch.images)


class Noise(PGDAT):
    """A method whose attack stays where it starts."""

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(self.threat.random_start(batch.images, self.generator))


@pytest.mark.parametrize("method", [Returning(), Noise()], ids=["Returning", "Noise"])
def test_a_dead_attack_is_said_once_and_stands_in_the_report(method: Method, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained = train(method=method, threat=ThreatModel("linf", 0.2), out=str(tmp_path / "a"), **SMALL)
    assert sum("dead attack" in str(each.message) for each in said) == 1
    (event,) = json.loads(trained.folder.events.read_text())
    assert (event["guard"], event["rolled_back"]) == ("dead_attack", False)
    write_report(trained.folder)
    assert "dead attack: what it climbs" in trained.folder.report.read_text()


@pytest.mark.parametrize("method", [FGSMRS(), TRADES(), VAT()], ids=lambda each: type(each).__name__)
def test_an_attack_that_works_is_not_said_to_be_dead(method: Method, tmp_path: Path) -> None:
    trained = train(method=method, threat=ThreatModel("linf", 0.1), out=str(tmp_path / "a"), **SMALL)
    assert not trained.folder.events.exists()
    assert load_state(trained.folder.checkpoint)["watch"]["dead"] == 0


@pytest.mark.parametrize("method", [PGDAT(), TRADES()], ids=["CE", "KL"])
def test_the_gain_of_a_linear_model_is_known(method: Method) -> None:
    """Two classes told by the sum of four pixels, which the attack lowers by 0.1 each."""

    class Summed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            total = images.flatten(1).sum(1)
            return torch.stack([total, -total], dim=1)

    images, labels = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    method.under(ThreatModel("linf", 0.1))
    noisy = method.threat.random_start(images, torch.Generator().manual_seed(3)).flatten(1).sum(1)

    def climbed(total: Tensor) -> Tensor:
        p, q = torch.sigmoid(torch.tensor(2 * 2.0)), torch.sigmoid(2 * total)
        return -q.log() if isinstance(method, PGDAT) else p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()

    found = gain(method, Summed(), Batch(images, labels), images - 0.1, seed=3)
    torch.testing.assert_close(found, climbed(torch.tensor(4 * 0.4)) - climbed(noisy), rtol=1e-4, atol=1e-6)


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ToughenWarning)
        settings = {**SMALL, "guards": Guards(check_every=2, dead_attack=False)}
        assert not train(method=Returning(), out=str(tmp_path / "a"), **settings).folder.events.exists()
