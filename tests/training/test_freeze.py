"""Stages that a run leaves as they are."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from toughen import train
from toughen.errors import InputError
from toughen.methods import NFGSM, TRADES
from toughen.models import ResNet18
from toughen.training import EMA, SWA

SMALL = {
    "model": partial(ResNet18, width=2),
    "normalize": False,
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "guards": None,
    "device": "cpu",
    "batch_size": 64,
    "train_images": 128,
    "val_images": 20,
}


@pytest.mark.filterwarnings("ignore:.*started from its weights")
@pytest.mark.parametrize(("method", "average"), [(NFGSM(), None), (TRADES(), EMA(decay=0.9, start=2))])
def test_weights_and_statistics_of_frozen_stages_stay(tmp_path: Path, method: object, average: object) -> None:
    start = ResNet18(num_classes=10, in_channels=1, width=2)
    state = {
        name: each + 0.1 * torch.rand_like(each) if each.is_floating_point() else each
        for name, each in start.state_dict().items()
    }
    save_file(state, tmp_path / "start.safetensors")
    before = load_file(tmp_path / "start.safetensors")
    frozen = ["conv1", "bn1", "layer1", "layer2.0"]
    settings = {**SMALL, "method": method, "average": average, "init": str(tmp_path / "start.safetensors")}
    run = train(**settings, freeze=frozen, select="last", out=str(tmp_path / "run"))
    after = load_file(run.folder.model)
    for name, tensor in before.items():
        still = name.startswith(tuple(f"{stage}." for stage in frozen))
        assert torch.equal(after[name], tensor) is still, name


def test_an_average_would_estimate_their_statistics_again(tmp_path: Path) -> None:
    for average in (SWA(start=1), EMA(estimate=4)):
        with pytest.raises(InputError, match="estimates .* in --freeze bn1 too; take EMA without"):
            train(**SMALL, freeze=["bn1"], average=average, out=str(tmp_path / "run"))
    train(**SMALL, freeze=["conv1"], average=SWA(start=1), out=str(tmp_path / "run"))
