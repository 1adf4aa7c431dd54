"""A network with weights in, a hardened one out."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch

import toughen
from toughen.data import Digits
from toughen.errors import InputError
from toughen.methods import PGDAT, Standard
from toughen.models import SmallCNN
from toughen.training import read_rows

QUICK = {"budget": "none", "trackers": [], "device": "cpu", "batch_size": 64, "train_images": 640, "val_images": 100}


@pytest.mark.filterwarnings("ignore:.*--normalize")
def test_a_trained_network_is_hardened_and_stays_as_it_was(tmp_path: Path) -> None:
    small = partial(SmallCNN, width=8)
    standard = toughen.train(Digits(), small, Standard(), epochs=6, out=str(tmp_path / "standard"), **QUICK)
    before = copy.deepcopy(standard.model.state_dict())
    hardened = toughen.harden(
        standard.model, Digits(), method=PGDAT(), epochs=3, out=str(tmp_path / "hardened"), **QUICK
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in standard.model.state_dict().items())
    soft, hard = (read_rows(run.folder.metrics)[-1] for run in (standard, hardened))
    assert soft["val_clean"] > 0.8 and hard["val_clean"] > 0.8
    assert hard["val_pgd"] > soft["val_pgd"] + 0.2


def test_a_class_without_weights_is_refused() -> None:
    with pytest.raises(InputError, match="harden: expected a network with its weights, got a class of networks"):
        toughen.harden(SmallCNN, Digits())
