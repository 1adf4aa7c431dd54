"""A run that starts from trained weights keeps what the network was before."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from toughen.commands.train import train
from toughen.data import Digits
from toughen.errors import InputError
from toughen.evaluation.records.verdicts import Verdicts
from toughen.models import SmallCNN, load_weights
from toughen.models.build import build_model
from toughen.run import RunFolder
from toughen.threat import ThreatModel

TINY: dict[str, Any] = {
    "model": partial(SmallCNN, width=4),
    "threat": ThreatModel("linf", 0.03),
    "epochs": 1,
    "train_images": 200,
    "test_images": 30,
    "trackers": [],
    "workers": 0,
    "out": "",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that knows its digits a little."""
    out = str(tmp_path_factory.mktemp("start") / "run")
    return train(**{**TINY, "epochs": 6, "train_images": 600, "budget": "none", "out": out}).folder.model


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")  # which says what was loaded
def test_the_start_is_evaluated_on_the_same_images_and_changes_nothing(start: Path, tmp_path: Path) -> None:
    run = train(**{**TINY, "init": str(start), "budget": "quick", "out": str(tmp_path / "a")})
    before = RunFolder(run.folder.before).read_result()
    result = run.folder.read_result()
    for name in ("data", "threat", "n"):
        assert before[name] == result[name]
    assert before["model"]["sha256"] != result["model"]["sha256"]
    network = load_weights(build_model(TINY["model"], num_classes=10, in_channels=1, mean=[0.0], std=[1.0]), start)
    indices = Verdicts.read(RunFolder(run.folder.before).verdicts).table["index"].to_pylist()
    images, labels = Digits().load("test").subset(torch.tensor(indices))
    assert before["figures"]["clean"]["held"] == int((network.eval()(images).argmax(1) == labels).sum())
    assert "Before and after training" in run.folder.report.read_text()
    less = {"init": str(start), "budget": "quick", "before": "none", "test_images": 4}
    plain = train(**{**TINY, **less, "out": str(tmp_path / "b")})
    assert not plain.folder.before.exists()
    weights = load_file(plain.folder.model)
    assert all(torch.equal(weights[name], each) for name, each in load_file(run.folder.model).items())


def test_an_unknown_budget_is_said_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--before: unknown 'strong'; .*none, quick, standard"):
        train(**{**TINY, "before": "strong", "out": str(tmp_path / "a")})


def test_a_network_that_knows_nothing_has_no_before(tmp_path: Path) -> None:
    run = train(**{**TINY, "budget": "quick", "test_images": 10, "out": str(tmp_path / "new")})
    assert not run.folder.before.exists()
