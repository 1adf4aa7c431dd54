"""Whole runs by the command line: the three doors agree, and what a run leaves goes back in."""

import json
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from toughen.attacks import GradientAttack
from toughen.commands.train import train
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.records.store import VerdictStore
from toughen.methods import TRADES
from toughen.models import SmallCNN

Toughen = Callable[..., Any]
QUICK = "--epochs 1 --budget none --device cpu --trackers [] --batch_size 512 --method.attack.steps 1".split()  # noqa: SIM905


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "last" / "tensors.safetensors")


def assert_same(first: Path, second: Path) -> None:
    """The two runs ended with the same bits: weights, optimiser, random numbers."""
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_command_line_yaml_and_python_give_the_same_run(toughen: Toughen, tmp_path: Path) -> None:
    first = toughen("train", *QUICK, "--method.beta", "3", "--model.width", "4", "--out", "first")
    assert (first.status, first.err) == (0, "")
    assert first.out.splitlines()[-1] == "run:    first"
    assert toughen("train", "--config", "first/config.yaml", "--out", "second").status == 0
    assert (tmp_path / "first/config.yaml").read_text() == (tmp_path / "second/config.yaml").read_text()
    assert_same(tmp_path / "first", tmp_path / "second")
    method = TRADES(beta=3, attack=GradientAttack(steps=1, start="normal"))
    quick = {"epochs": 1, "budget": "none", "device": "cpu", "trackers": [], "batch_size": 512}
    train(model=partial(SmallCNN, width=4), method=method, out="third", **quick)
    assert_same(tmp_path / "first", tmp_path / "third")


def test_one_run_a_seed_and_one_of_them_extended(toughen: Toughen, tmp_path: Path) -> None:
    answer = toughen("train", *QUICK, "--schedule", "Constant", "--seeds", "0,1", "--out", "a")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "compare: toughen compare a-seed0 a-seed1"
    assert toughen("train", "--resume", "a-seed1", "--epochs", "2").status == 0
    configs = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("a-seed0", "a-seed1")]
    assert [(config["seed"], config["epochs"]) for config in configs] == [(0, 1), (1, 2)]
    assert toughen("train", "--resume", "a-seed1", "--seeds", "3").status == 2


MINE = '''
from torch import nn
from toughen.batch import Batch
from toughen.losses import cross_entropy
from toughen.methods import Method, Perturbed, Term, Terms


class Mine(Method):
    """A method that is nowhere but in the working folder.

    Args:
        strength: factor of the loss.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def perturb(self, model: nn.Module, batch: Batch) -> Perturbed:
        return Perturbed(batch.images)

    def terms(self, model: nn.Module, batch: Batch, perturbed: Perturbed) -> Terms:
        return {"mine": Term(cross_entropy(model(perturbed.images), batch.target), self.strength)}


class Net(nn.Sequential):
    """Needs the data's facts, which it has no defaults for."""

    def __init__(self, num_classes: int, in_channels: int, scale: float = 1.0) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))
'''


def test_a_users_classes_from_the_working_folder(toughen: Toughen, tmp_path: Path) -> None:
    package = tmp_path / "my_package_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text(MINE)
    quick = QUICK[:-2]
    named = ["--method", "my_package_of_tests.Mine", "--model", "my_package_of_tests.Net"]
    assert toughen("train", *quick, *named).err == (
        "toughen: --method Mine needs --method.strength (factor of the loss)\n"
    )
    assert toughen("train", *quick, *named, "--method.strength", "2", "--out", "mine").err == ""
    config = yaml.safe_load((tmp_path / "mine/config.yaml").read_text())
    assert config["method"] == {"class_path": "my_package_of_tests.Mine", "init_args": {"strength": 2.0}}
    assert config["model"]["init_args"] == {"scale": 1.0, "num_classes": 10, "in_channels": 1}
    assert "loss/mine" in (tmp_path / "mine/metrics.csv").read_text()
    assert "--trust my_package_of_tests.Net" in toughen("train", "--resume", "mine").err
    assert toughen("train", "--resume", "mine", "--trust", "my_package_of_tests").status == 0
    text = toughen("train", "--method.help", "my_package_of_tests.Mine").out
    assert "A method that is nowhere but in the working folder." in text
    assert "--method.strength FLOAT\n                          factor of the loss. (needed)" in text


def test_train_evaluate_and_compare(toughen: Toughen, tmp_path: Path) -> None:
    for name, method in (("a", "TRADES"), ("b", "PGDAT")):
        line = ["--method", method, "--budget", "quick", "--test_images", "20", "--out", f"runs/{name}"]
        answer = toughen("train", *[word for word in QUICK if word not in ("--budget", "none")], *line)
        assert (answer.status, answer.err) == (0, "")
        assert f"report: runs/{name}/report.html" in answer.out
        assert "PGD-20" in answer.out
    gate = ["--require", "robust >= 0.99", "--device", "cpu"]  # ten images cannot show it
    answer = toughen("evaluate", "runs/a", "--budget", "quick", "--test_images", "10", *gate)
    assert answer.status == 1
    assert "requirement not met: robust >= 0.99" in answer.err
    said = re.search(r"report: (runs/a/evaluations/quick-linf-0.1-[0-9a-f]{8}/report.html)\n", answer.out)
    assert said, "where the report is"
    assert (tmp_path / said[1]).is_file()
    answer = toughen("compare", "runs/a", "runs/b")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == "report: runs/compare.html"
    assert (tmp_path / "runs/compare.html").is_file()
    assert "TRADES" in answer.out
    assert "PGDAT" in answer.out


@pytest.mark.parametrize("out", ["", "mine"])
def test_stopped_in_the_final_evaluation(
    toughen: Toughen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: str
) -> None:
    """By a real signal, once the first verdicts are on the disk."""
    write = VerdictStore.write

    def stop(store: VerdictStore, result: BatchResult) -> None:
        write(store, result)
        signal.raise_signal(signal.SIGTERM)

    place = ["--test_images", "20", *(["--out", out] if out else [])]
    with monkeypatch.context() as patch:
        patch.setattr(VerdictStore, "write", stop)
        answer = toughen("train", *[word if word != "none" else "quick" for word in QUICK], *place)
    command = f"toughen train --resume {out or 'runs/digits-smallcnn-trades'}"
    assert answer.status == 130
    assert answer.err == f"toughen: stopped; go on with: {command}\n"
    run = tmp_path / command.split()[-1]
    assert len(list((run / "verdicts").glob("*/*.parquet"))) == 1
    assert toughen(*command.split()[1:]).status == 0
    assert (run / "report.html").is_file()
    assert [path for path in run.rglob(".*") if path.is_file()] == []


@pytest.mark.parametrize("line", ["train --out runs/x", "evaluate runs/x --budget quick"])
def test_what_is_there_is_not_replaced_unasked(toughen: Toughen, tmp_path: Path, line: str) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/precious").write_text("data")
    answer = toughen(*line.split())
    assert (answer.status, answer.out) == (2, "")
    assert "runs/x" in answer.err
    assert (tmp_path / "runs/x/precious").read_text() == "data"


def test_another_radius_keeps_the_norm_that_the_run_was_trained_for(toughen: Toughen, tmp_path: Path) -> None:
    short = ["--model", "small_cnn", "--model.width", "4", "--method", "Standard", "--epochs", "1", "--budget", "none"]
    trained = toughen("train", *short, "--train_images", "200", "--threat.norm", "l2", "--out", "runs/l2")
    assert trained.status == 0, trained.err
    line = ["evaluate", "runs/l2", "--budget", "quick", "--test_images", "5"]
    assert toughen(*line, "--threat.eps", "0.25", "--out", "runs/quarter").status == 0
    found = json.loads((tmp_path / "runs/quarter/result.json").read_text())["threat"]
    assert found == {"norm": "l2", "eps": 0.25}
