"""Whole runs whose reported network is not the one that is trained: averages, and AR-AT's adversarial branch."""

import csv
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from toughen import train
from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.data import Augment
from toughen.errors import InputError
from toughen.evaluation import load_model
from toughen.methods import ARAT, Standard
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.training import EMA, SWA, Average, Interrupted, Silent

QUICK = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256}  # 6 steps an epoch


def arat(**settings: object) -> ARAT:
    return ARAT(**{"attack": PGD(steps=2, mode="train"), **settings})


def checkpoint(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


class Stop(Silent):
    """Asks the process to stop after a step, as Ctrl-C does."""

    def stepped(self, step: int) -> None:
        if step == 9:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    "average",
    [
        pytest.param(None, id="plain", marks=pytest.mark.nightly),
        pytest.param(EMA(decay=0.9), id="ema", marks=pytest.mark.nightly),
        pytest.param(SWA(start=1, every_steps=4), id="swa"),
    ],
)
def test_arat_resumed_in_the_middle_of_an_epoch_is_bit_identical(tmp_path: Path, average: Average | None) -> None:
    settings = {**QUICK, "model": SmallCNN, "method": arat(), "average": average}
    train(**settings, out=str(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(**settings, out=str(tmp_path / "stopped"), observer=Stop())
    train(resume=str(tmp_path / "stopped"))
    whole, resumed = (checkpoint(tmp_path / name) for name in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert 0 < whole["/method/a"] < 1
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_an_arat_run_saves_an_ordinary_network_of_its_adversarial_branch(tmp_path: Path) -> None:
    trained = train(model=SmallCNN, method=arat(layers=["features.7"]), out=str(tmp_path / "a"), select="last", **QUICK)
    saved, state = load_file(trained.folder.model), checkpoint(tmp_path / "a")
    assert saved.keys() == trained.model.state_dict().keys()
    for name, tensor in saved.items():
        trained_names = [f"/model/{name}", "/model/{}.adversarial.{}".format(*name.rsplit(".", 1))]
        (found,) = [state[each] for each in trained_names if each in state]
        assert torch.equal(tensor, found)
    assert not any("adversarial" in name or "clean" in name for name in saved)
    assert isinstance(load_model(trained.folder), nn.Module)
    config = yaml.safe_load(trained.folder.config.read_text())
    assert config["method"]["init_args"]["layers"] == ["features.7"]
    rows = list(csv.DictReader(trained.folder.metrics.open()))
    assert {"loss/adversarial_ce", "loss/clean_ce", "loss/invariance"} <= rows[0].keys()


def test_a_wrong_layer_stops_a_run_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no layer 'features\.9'; nearest first, it has features\."):
        train(model=SmallCNN, method=arat(layers=["features.9"]), out=str(tmp_path / "a"), **QUICK)


class Flat(nn.Sequential):
    """BatchNorm sees the images themselves."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(64 * in_channels), nn.Linear(64 * in_channels, num_classes))


class OnGrey(Standard):
    """Wants its statistics from grey images, and looks at the network that they are for."""

    def batchnorm_images(self, model: nn.Module, batch: Batch) -> Tensor:
        assert model.training
        return torch.full_like(batch.images, 0.25)


def statistics(folder: RunFolder) -> tuple[Tensor, Tensor]:
    state = load_file(folder.model)
    mean, std = state["normalize.mean"].flatten(), state["normalize.std"].flatten()
    return state["network.1.running_mean"] * std + mean, state["network.1.running_var"]


def test_averaged_statistics_are_those_of_the_images_that_the_method_asks_for(tmp_path: Path) -> None:
    run = train(model=Flat, method=OnGrey(), average=SWA(start=1), out=str(tmp_path / "a"), **QUICK)
    mean, variance = statistics(run.folder)
    torch.testing.assert_close(mean, torch.full((64,), 0.25))
    assert variance.abs().max() < 1e-10


def test_arats_average_has_adversarial_statistics_and_keeps_the_clean_ones(tmp_path: Path) -> None:
    """Pushed up by 0.1 everywhere, dark images show in the statistics."""
    method = arat(layers=["1"], attack=PGD(steps=1, step_size=0.1, start="clean"))
    unmoved = Augment(crop=0, flip=False)
    settings = {**QUICK, "epochs": 1, "average": SWA(start=1), "model": Flat, "augment": unmoved}
    run = train(**settings, method=method, out=str(tmp_path / "a"))
    clean_run = train(**settings, method=Standard(), out=str(tmp_path / "b"))
    (mean, _), (clean_mean, _) = statistics(run.folder), statistics(clean_run.folder)
    black = clean_mean < 0.01  # pixels that are black in nearly all images, and can only grow lighter
    assert black.sum() >= 4
    assert (mean - clean_mean)[black].min() > 0.01
    state = checkpoint(tmp_path / "a")
    clean = "network.1.clean.running_mean"
    assert torch.equal(
        state[f"/averaged/module.{clean}"], state[f"/model/{clean}"]
    )  # estimated anew for one branch only


@pytest.mark.parametrize("start", [2, 3])
def test_until_the_first_update_the_network_itself_is_reported(tmp_path: Path, start: int) -> None:
    settings = {**QUICK, "epochs": 1, "select": "last", "average": SWA(start=start)}
    run = train(model=SmallCNN, method=Standard(), out=str(tmp_path / "a"), **settings)
    state = checkpoint(tmp_path / "a")
    assert all(torch.equal(tensor, state[f"/model/{name}"]) for name, tensor in load_file(run.folder.model).items())


def test_weights_are_averaged_every_so_many_updates(tmp_path: Path) -> None:
    train(
        model=SmallCNN,
        method=Standard(),
        average=SWA(start=2, every_steps=2),
        accumulate=2,
        out=str(tmp_path / "a"),
        **QUICK,
    )
    # 6 batches are 3 updates an epoch: updates 4 and 6 of the run are taken in.
    assert checkpoint(tmp_path / "a")["/averaged/n_averaged"] == 2
