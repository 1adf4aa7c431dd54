"""Runs of methods that keep something from step to step: stopped in the middle of an epoch and resumed, bit by bit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import StopAt
from torch import Tensor

from toughen import train
from toughen.methods import FGSMUAP, GAT, LIET, OAAT, GradAlign, Method, NuAT
from toughen.models import SmallCNN
from toughen.training import Interrupted

RUN = {
    "epochs": 2,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "train_images": 96,
    "val_images": 20,
    "model": SmallCNN,
    "batch_size": 16,
    "accumulate": 2,
}


def checkpoint(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


@pytest.mark.nightly
@pytest.mark.parametrize(
    "method", [NuAT(), GAT(), GradAlign(), FGSMUAP(), LIET(every=3), OAAT()], ids=lambda m: type(m).__name__
)
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, method: Method) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(**RUN, method=method, out=str(whole))
    with pytest.raises(Interrupted):
        train(**RUN, method=method, out=str(stopped), observer=StopAt(9))
    train(resume=str(stopped))
    one, other = checkpoint(whole), checkpoint(stopped)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
