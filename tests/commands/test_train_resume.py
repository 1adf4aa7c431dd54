"""Going on elsewhere: another device, and another number of processes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen import train
from toughen.cli import main
from toughen.data import epoch_order
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.training.checkpoint import load_state, save_state
from toughen.training.log import read_rows

SMALL = {
    "epochs": 1,
    "budget": "none",
    "trackers": [],
    "device": "cpu",
    "batch_size": 64,
    "train_images": 200,
    "val_images": 20,
    "model": partial(SmallCNN, width=4),
    "method": Standard(),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one epoch whose configuration asks for two."""
    train(**SMALL, out=str(tmp_path / "a"))
    config = tmp_path / "a" / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 2"))
    return tmp_path / "a"


def change(run: Path, how: Callable[[dict[str, Any]], None]) -> None:
    state = load_state(run / "checkpoints" / "last")
    how(state)
    save_state(run / "checkpoints" / "last", state)


def test_another_device_is_honoured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--device: .* got 'meta', which cannot be used"):
        train(resume=str(run), device="meta")
    assert main(["train", "--resume", str(run), "--device", "cpu"]) == 0
    assert len(read_rows(run / "metrics.csv")) == 2
    assert main(["train", "--resume", str(run), "--seed", "1"]) == 2
    assert "--seed came with it" in capsys.readouterr().err


def test_another_kind_of_device_goes_on_with_fresh_random_numbers(run: Path) -> None:
    def from_a_gpu(state: dict[str, Any]) -> None:
        state["processes"][0]["generators"]["augment"] = torch.zeros(16, dtype=torch.uint8)

    change(run, from_a_gpu)
    with pytest.warns(ToughenWarning, match="goes on on another kind of device, cpu: its random numbers from here on"):
        train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 2


def test_fewer_processes_than_before(run: Path) -> None:
    def of_two(state: dict[str, Any]) -> None:
        state["processes"] *= 2

    change(run, of_two)
    with pytest.warns(ToughenWarning, match="the run had 2 processes and goes on with 1"):
        train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 2


def test_validation_images_of_an_older_version_are_not_trained_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The split that versions before the one by class made: the first of a permutation by the seed."""

    def older(labels: torch.Tensor, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        order = epoch_order(len(labels), seed, 2**32 - 1)
        return order[size:].sort().values, order[:size].sort().values

    before = (run / "checkpoints" / "last" / "tensors.safetensors").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(RunError, match="other training and validation images"):
        patched.setattr("toughen.commands.assemble.split_validation", older)
        train(resume=str(run))
    assert (run / "checkpoints" / "last" / "tensors.safetensors").read_bytes() == before
    train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 2


def test_a_checkpoint_that_does_not_tell_its_split_is_refused(run: Path) -> None:
    change(run, lambda state: state.pop("split", None))
    with pytest.raises(RunError, match="start it again with --overwrite"):
        train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 1
