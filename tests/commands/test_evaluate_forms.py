"""One network in many forms: the figure of each is that of the plain one."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen import ThreatModel, evaluate, train
from toughen.data import Digits
from toughen.errors import InputError
from toughen.methods import PGDAT, Standard
from toughen.models import SmallCNN

N = 60


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """A network of 60 steps on the digits, whose robust accuracy is neither 0 nor 1."""
    images, labels = Digits().load("train").subset(torch.arange(1000))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


def held(model: nn.Module, folder: Path) -> np.ndarray:
    """Which images every attack of a quick evaluation leaves right."""
    threat = ThreatModel("linf", 0.05)
    settings = {"data": Digits(), "budget": "quick", "test_images": N, "checks": False, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = evaluate(model=model, threat=threat, out=str(folder), **settings)
    return result.verdicts.robust()


class Extra(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


class AsDict(Extra):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": images, "logits": self.inner(images)}


class AsObject(Extra):
    """As the classifiers of transformers."""

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=None, logits=self.inner(images))


def old_weight_norm(model: nn.Module) -> nn.Module:
    model[1] = torch.nn.utils.weight_norm(model[1])
    return model


def exported(model: nn.Module) -> nn.Module:
    batch = torch.export.Dim("n")
    return torch.export.export(model, (torch.rand(20, 1, 8, 8),), dynamic_shapes=({0: batch},)).module()


@pytest.mark.parametrize("form", [old_weight_norm, Extra, exported, AsDict, AsObject])
def test_the_figure_is_the_plain_networks(plain, form: Callable[[nn.Module], nn.Module], tmp_path: Path):
    expected = held(plain, tmp_path / "plain")
    assert 0 < expected.sum() < N
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = form(copy.deepcopy(plain))
    np.testing.assert_array_equal(held(model, tmp_path / "form"), expected)


def test_a_quantised_network_gets_a_figure_of_attacks_without_gradients(plain, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear})
    difference = held(quantised, tmp_path / "q") != held(plain, tmp_path / "plain")
    assert difference.mean() <= 0.5


def test_a_network_on_the_meta_device_is_refused(tmp_path: Path):
    with torch.device("meta"):
        meta = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(InputError, match=r"the model's 1\.weight is on the meta device"):
        held(meta, tmp_path)


def test_a_network_that_gives_a_dict_is_trained_as_the_plain_one(plain, tmp_path: Path):
    """The same weights, and the run's folder can be evaluated by its network's class again."""
    settings = {
        "data": Digits(),
        "method": PGDAT(),
        "train_images": 64,
        "val_images": 20,
        "epochs": 1,
        "batch_size": 32,
    }
    settings |= {"budget": "quick", "test_images": 20, "device": "cpu"}
    trained = {}
    for name, model in {"plain": Extra(copy.deepcopy(plain)), "dict": AsDict(copy.deepcopy(plain))}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained[name] = train(model=model, out=str(tmp_path / name), **settings)
    first, second = (trained[name].model.state_dict() for name in ("plain", "dict"))
    assert all(torch.equal(first[name], second[name]) for name in first if name != "_extra_state")
    assert trained["dict"].model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


class GivesDict(SmallCNN):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(images)}


def test_the_run_of_a_network_that_gives_a_dict_is_the_same_evaluation_when_it_is_loaded(tmp_path: Path):
    """It has the result of its training, which is used and not refused as another evaluation's."""
    settings = {"data": Digits(), "budget": "quick", "test_images": 20, "device": "cpu"}
    trained = train(
        model=partial(GivesDict, width=3),
        method=Standard(),
        train_images=64,
        val_images=20,
        epochs=1,
        batch_size=32,
        out=str(tmp_path / "run"),
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = evaluate(str(tmp_path / "run"), budget="quick", test_images=20, device="cpu", trust=[__name__])
    assert again.result["key"] == trained.evaluation.result["key"]
    assert again.verdicts.table.equals(trained.evaluation.verdicts.table)
