"""What a user finds in TensorBoard: the figures of metrics.csv, settings, and the evaluation, in one run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import toughen
from toughen.attacks import PGD
from toughen.commands.trainings.trained import Trained
from toughen.errors import ToughenError
from toughen.methods import PGDAT
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.training import Constant, read_rows
from toughen.training.setup import make_accelerator
from toughen.training.stopping import Interrupted
from toughen.training.trackers import begin_trackers, ended_if_it_fails


@pytest.fixture(scope="module")
def run(short_self_checks: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = str(tmp_path_factory.mktemp("runs") / "tracked")
    given = {"budget": "quick", "test_images": 20, "device": "cpu"}
    method = PGDAT(attack=PGD(steps=1))
    toughen.train(
        toughen.data.Digits(), SmallCNN, method, epochs=1, schedule=Constant(), batch_size=64,
        train_images=128, val_images=20, out=out, **given,
    )  # fmt: skip
    return toughen.train(resume=out, epochs=2)


@pytest.fixture(scope="module")
def seen(run: Trained) -> EventAccumulator:
    """Both halves of the run, as TensorBoard shows them: one directory is one run."""
    folder = run.folder.path / "tensorboard"
    assert {path.parent for path in folder.rglob("events*")} == {folder / "toughen"}
    return EventAccumulator(str(folder / "toughen")).Reload()


def test_every_figure_of_an_epoch_is_there_once_at_its_step(run: Trained, seen: EventAccumulator) -> None:
    rows = read_rows(run.folder.metrics)
    assert len(rows) == 2
    for name in rows[0].keys() - {"step"}:
        points = [(event.step, event.value) for event in seen.Scalars(name)]
        assert points == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows], name


def test_the_evaluation_is_there(run: Trained, seen: EventAccumulator) -> None:
    found = run.evaluation
    assert seen.Scalars("test/robust")[-1].value == pytest.approx(float(found.robust_accuracy))
    for name, accuracy in found.accuracies.items():
        points = [(event.step, event.value) for event in seen.Scalars(f"test/{name}")]
        assert points[-1] == (4, pytest.approx(float(accuracy)))
        assert [step for step, _ in points] == [2, 4], "once for each half of the run"
    assert {name for name in seen.Tags()["scalars"] if name.startswith("test/")} == {
        "test/robust", *(f"test/{name}" for name in found.accuracies)
    }  # fmt: skip


def test_settings_are_there_as_text_and_as_hyperparameters(run: Trained, seen: EventAccumulator) -> None:
    text = seen.Tensors("config.yaml/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "class_path: toughen.methods.pgd_at.PGDAT" in text
    started = seen.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(started).session_start_info.hparams
    assert settings["method"].string_value == "PGDAT"
    assert settings["method.attack.steps"].number_value == 1
    assert settings["batch_size"].number_value == 64


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ValueError("mine"), "FAILED", 1), (Interrupted("saved"), "KILLED", 130), (KeyboardInterrupt(), "KILLED", 130)],
)
def test_a_run_that_fails_is_ended_in_each_tracker(
    error: BaseException, status: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow and W&B are stood in for; what they make of it was looked at with the real ones."""
    mlflow, wandb, broken, other = Mock(), Mock(), Mock(), Mock()
    for name, tracker in {"mlflow": mlflow, "wandb": wandb, "trackio": broken, "tensorboard": other}.items():
        tracker.name = name
    broken.finish.side_effect = ConnectionError("its server has gone")
    monkeypatch.setattr("toughen.training.trackers.library", lambda *_: mlflow)
    accelerator: Any = SimpleNamespace(trackers=[mlflow, wandb, broken, other], is_main_process=True)
    with pytest.raises(type(error)) as caught, ended_if_it_fails(accelerator):
        raise error
    assert caught.value is error
    mlflow.end_run.assert_called_once_with(status)
    wandb.tracker.finish.assert_called_once_with(exit_code=code)
    other.finish.assert_called_once_with()


def test_a_tracker_that_cannot_begin_is_a_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config({"seed": 0})
    (tmp_path / "tensorboard").write_text("not a folder")
    accelerator = make_accelerator("fp32", torch.device("cpu"), ["tensorboard"], folder)
    with pytest.raises(ToughenError, match="--trackers tensorboard: a tracker cannot begin: .*; leave it out"):
        begin_trackers(accelerator, folder)
