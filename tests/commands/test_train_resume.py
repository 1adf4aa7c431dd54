"""Going on elsewhere: another device, another number of processes; and only with what was begun."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from toughen import train, train_seeds
from toughen.cli import main
from toughen.data import Digits, ImageSet, Split, epoch_order
from toughen.data.source import Decoded
from toughen.errors import InputError, RunError, ToughenWarning
from toughen.methods import TRADES, Standard
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.training import Constant, Cosine, GrowingSize, MultiStep, OneCycle
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
    "schedule": MultiStep([1]),
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
        patched.setattr("toughen.commands.trainings.assemble.split_validation", older)
        train(resume=str(run))
    assert (run / "checkpoints" / "last" / "tensors.safetensors").read_bytes() == before
    train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 2


def test_a_checkpoint_that_does_not_tell_its_split_is_refused(run: Path) -> None:
    change(run, lambda state: state.pop("split", None))
    with pytest.raises(RunError, match="start it again with --overwrite"):
        train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("methods.standard.Standard", "methods.trades.TRADES"), r'method.class_path: "toughen.methods.standard.Stan'),
        (("precision: fp32", "precision: bf16"), 'precision: "fp32", now "bf16"'),
        (("\nseed: 0", "\nseed: 1"), "seed: 0, now 1"),
        (("width: 4", "width: 5"), "model.init_args.width: 4, now 5"),
    ],
)
def test_an_edited_configuration_is_refused_with_the_difference(run: Path, edit: tuple[str, str], message: str) -> None:
    config = run / "config.yaml"
    assert edit[0] in config.read_text()
    config.write_text(config.read_text().replace(*edit))
    with pytest.raises(RunError, match=f"(?s)not what the run was begun with:\n  {message}.*--out ANOTHER"):
        train(resume=str(run))


def test_what_decides_nothing_of_the_weights_may_be_edited(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("log_every: 20", "log_every: 3").replace("workers: 2", "workers: 0"))
    train(resume=str(run))
    assert len(read_rows(run / "metrics.csv")) == 2


def test_other_images_or_labels_are_refused_with_the_difference(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Digits.load

    def relabelled(self: Digits, split: Split) -> ImageSet:
        found = before(self, split)
        labels = found.labels.clone()
        labels[[3, 4]] = labels[[4, 3]]
        return replace(found, labels=labels)

    def darker(self: Digits, split: Split) -> ImageSet:
        found = before(self, split)
        pixels = found.images.take(torch.arange(len(found)))
        pixels[7, 0, 3, 3] += 1
        return replace(found, images=Decoded(pixels))

    for changed, message in ((relabelled, "labels: "), (darker, "pixels of all images: ")):
        with monkeypatch.context() as patched, pytest.raises(RunError, match=f"not those that the run.*\n  {message}"):
            patched.setattr(Digits, "load", changed)
            train(resume=str(run))


@pytest.mark.parametrize("damaged", ["model.safetensors", "metrics.csv", "checkpoints/last/state.json"])
def test_a_damaged_file_is_made_again_where_the_checkpoint_has_it(tmp_path: Path, damaged: str) -> None:
    whole = {**SMALL, "epochs": 2, "select": "last"}
    folder = train(**whole, out=str(tmp_path / "a")).folder
    before, rows = folder.model.read_bytes(), read_rows(folder.metrics)
    file = folder.path / damaged
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    said = "goes on from the one before" if "last" in damaged else f"{damaged}: damaged or missing, and made again"
    with pytest.warns(ToughenWarning, match=said):
        train(resume=str(folder.path))
    assert folder.model.read_bytes() == before
    assert [row["val_pgd"] for row in read_rows(folder.metrics)] == [row["val_pgd"] for row in rows]


def test_damaged_weights_are_made_again_from_the_checkpoint_before_the_last(tmp_path: Path) -> None:
    """The best epoch is often the last but one."""
    folder = train(**{**SMALL, "epochs": 2}, out=str(tmp_path / "a")).folder
    before = folder.checkpoint.with_name("previous")
    previous = load_state(shutil.copytree(before, tmp_path / "previous"))

    def of_the_first(state: dict[str, Any]) -> None:
        state["best_epoch"] = 1

    change(folder.path, of_the_first)  # which makes the last checkpoint the one before
    shutil.rmtree(before)
    shutil.move(tmp_path / "previous", before)
    last = load_state(folder.checkpoint)
    folder.model.write_bytes(folder.model.read_bytes()[:-1])
    with pytest.warns(ToughenWarning, match="model.safetensors: damaged or missing, and made again"):
        train(resume=str(folder.path))
    found = load_file(folder.model)
    expected = previous["model"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert any(not torch.equal(tensor, last["model"][name]) for name, tensor in found.items())


def test_damaged_weights_of_an_epoch_that_no_checkpoint_has_are_named(tmp_path: Path) -> None:
    folder = train(**SMALL, out=str(tmp_path / "a")).folder

    def older(state: dict[str, Any]) -> None:
        state["epoch"], state["best_epoch"] = 2, 1

    change(folder.path, older)
    change(folder.path, older)  # the one before too
    folder.model.write_bytes(folder.model.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"model.safetensors is damaged .* of epoch 1, .* of epoch 2; .*--overwrite"):
        train(resume=str(folder.path))


def test_auto_goes_on_where_the_network_was_given_as_a_class(tmp_path: Path) -> None:
    """Its width is said by neither the run nor the call: the default in both."""
    auto: dict[str, Any] = {**SMALL, "model": SmallCNN, "train_images": 64, "resume": "auto", "out": str(tmp_path)}
    before = train(**auto).folder.model.read_bytes()
    assert train(**auto).folder.model.read_bytes() == before
    with pytest.raises(InputError, match=r"begun with other settings:\n  model.init_args.width: 16, now 4\n"):
        train(**{**auto, "model": SMALL["model"]})


def test_auto_begins_goes_on_and_gives_what_is_there(tmp_path: Path) -> None:
    auto: dict[str, Any] = {**SMALL, "epochs": 2, "resume": "auto", "out": str(tmp_path / "a")}
    whole = train(**{**auto, "resume": None, "out": str(tmp_path / "whole")}).folder
    folder = RunFolder(tmp_path / "a")
    (folder.path / ".config.yaml.0a1b2c3d").mkdir(parents=True)  # killed before anything got its name
    (folder.path / ".lock").write_text("")
    train(**auto)
    files = sorted(file.name for file in folder.path.rglob("*"))
    assert files == sorted(file.name for file in whole.path.rglob("*"))
    train(**auto)
    assert folder.model.read_bytes() == whole.model.read_bytes()
    shutil.rmtree(folder.checkpoint.parent)
    with pytest.raises(RunError, match=r"has weights but no checkpoint, .* restore .*checkpoints/last, or start"):
        train(**auto)
    for file in (folder.model, folder.metrics, folder.classes):  # killed before the first checkpoint
        file.unlink()
    train(**auto)
    assert folder.model.read_bytes() == whole.model.read_bytes()
    assert folder.read_classes() == whole.read_classes()
    with pytest.raises(InputError, match=r"begun with other settings:\n  seed: 0, now 1\n"):
        train(**{**auto, "seed": 1})
    with pytest.raises(InputError, match="leave one of the two out"):
        train(**auto, overwrite=True)
    train(**{**auto, "epochs": 3, "log_every": 1})
    assert len(read_rows(folder.metrics)) == 3


CONSTANT = SMALL


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
            {"schedule": OneCycle()},
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
        train(resume=str(run), batch_size=7, method=TRADES())


def test_the_runs_own_settings_may_come_with_resume(run: Path) -> None:
    train(resume=str(run), method=Standard(), model=partial(SmallCNN, width=4))
    with pytest.raises(InputError, match="but model came with it"):
        train(resume=str(run), model=partial(SmallCNN, width=5))


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
