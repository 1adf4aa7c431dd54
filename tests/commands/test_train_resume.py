"""Going on elsewhere: another device, and another number of processes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen import train, train_seeds
from toughen.cli import main
from toughen.data import epoch_order
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.training import Constant, Cosine, GrowingSize, MultiStep
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


CONSTANT = {**SMALL, "schedule": MultiStep([1])}


def test_an_extended_run_is_the_longer_one_bit_for_bit(tmp_path: Path) -> None:
    train(**{**CONSTANT, "epochs": 2}, out=str(tmp_path / "whole"))
    folder = train(**CONSTANT, out=str(tmp_path / "extended")).folder
    folder.result.write_text("of the weights after one epoch")
    train(resume=str(folder.path), epochs=2)
    whole, extended = (load_state(tmp_path / name / "checkpoints" / "last") for name in ("whole", "extended"))
    assert extended["epoch"] == 2
    assert all(torch.equal(tensor, extended["model"][name]) for name, tensor in whole["model"].items())
    assert (folder.model.read_bytes()) == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert folder.config.read_text() == (tmp_path / "whole" / "config.yaml").read_text()
    assert not folder.result.exists()


@pytest.mark.parametrize(
    ("settings", "epochs", "message"),
    [
        (
            {},
            2,
            r"--epochs 2: what --schedule OneCycle did in .*a depends on its 1 epochs: .* --config .*a/config.yaml ",
        ),
        ({"schedule": Cosine()}, 30, "--epochs 30: what --schedule Cosine did"),
        ({"schedule": Constant(), "image_size": GrowingSize()}, 2, "--epochs 2: what --image_size did"),
        ({"epochs": 2, "schedule": Constant()}, 1, "--epochs 1: the run in .*a has 2, and --resume can only add some"),
    ],
)
def test_a_run_that_cannot_be_extended_says_why(
    tmp_path: Path, settings: dict[str, Any], epochs: int, message: str
) -> None:
    train(**{**SMALL, **settings}, out=str(tmp_path / "a"))
    config = (tmp_path / "a" / "config.yaml").read_text()
    with pytest.raises(InputError, match=message):
        train(resume=str(tmp_path / "a"), epochs=epochs)
    assert (tmp_path / "a" / "config.yaml").read_text() == config


def test_other_settings_of_a_resumed_run_are_refused(run: Path) -> None:
    with pytest.raises(
        InputError, match="resume goes on with the run's own settings, but method, batch_size came with"
    ):
        train(resume=str(run), batch_size=7, method=Standard())


def test_one_run_a_seed(tmp_path: Path) -> None:
    runs = train_seeds([3, 5], **SMALL, out=str(tmp_path / "a"))
    assert [trained.folder.path.name for trained in runs] == ["a-seed3", "a-seed5"]
    alone = train(**SMALL, seed=5, out=str(tmp_path / "alone"))
    assert runs[1].folder.model.read_bytes() == alone.folder.model.read_bytes()
    assert runs[0].folder.model.read_bytes() != alone.folder.model.read_bytes()


@pytest.mark.parametrize(
    ("seeds", "settings", "message"),
    [
        ([1, 1], {}, "--seeds: expected different seeds such as 0,1,2, got 1,1"),
        ([], {}, "--seeds: expected different seeds such as 0,1,2, got none"),
        ([1], {"seed": 4}, "--seed 4 came with --seeds"),
        ([1], {"resume": "runs/a"}, "--resume runs/a came with --seeds"),
    ],
)
def test_seeds_that_make_no_sense(seeds: list[int], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_seeds(seeds, **SMALL, **settings)


def test_a_series_of_seeds_does_not_begin_where_a_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a-seed2" / "mine").mkdir(parents=True)
    with pytest.raises(RunError, match="a-seed2 exists and is not empty"):
        train_seeds([1, 2], **SMALL, out=str(tmp_path / "a"))
    assert not (tmp_path / "a-seed1").exists()
