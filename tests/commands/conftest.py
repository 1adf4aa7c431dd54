"""Fixtures for all tests of commands."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toughen.data import Digits
from toughen.models import SmallCNN, build_model
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[[ThreatModel], RunFolder]:
    """A run folder of a threat model as training leaves it; the network is untrained."""

    def make(threat: ThreatModel) -> RunFolder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(partial(SmallCNN, width=3), num_classes=10, in_channels=1, mean=[0.3], std=[0.4])
        folder = RunFolder(tmp_path / "mine")
        folder.create()
        save_file(model.state_dict(), folder.model)
        network, data = describe(SmallCNN(10, 1, width=3)), describe(Digits())
        folder.write_config({"model": network, "data": data, "threat": describe(threat)})
        return folder

    return make
