"""`evaluate` on a run's folder and on a model from elsewhere: what it reads, writes and refuses."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from toughen import evaluate
from toughen.config import describe
from toughen.data import Digits
from toughen.errors import InputError, RunError
from toughen.evaluation import Verdicts, evaluate_model
from toughen.models import SmallCNN, build_model
from toughen.run import RunFolder
from toughen.threat import ThreatModel

QUICK = {"budget": "quick", "test_images": 12, "device": "cpu"}
THREAT = ThreatModel("l2", 0.4)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = partial(SmallCNN, width=3)
        return build_model(small, num_classes=10, in_channels=1, mean=[0.3], std=[0.4]).eval()


@pytest.fixture
def run(tmp_path: Path, model: nn.Module) -> RunFolder:
    """A run folder as training leaves it."""
    folder = RunFolder(tmp_path / "runs" / "mine")
    folder.create()
    save_file(model.state_dict(), folder.model)
    network = describe(SmallCNN(10, 1, width=3))
    folder.write_config({"model": network, "data": describe(Digits()), "threat": describe(THREAT), "epochs": 3})
    return folder


def test_a_runs_own_model_data_and_threat_are_used(run: RunFolder, model: nn.Module):
    before = run.config.read_bytes()
    evaluation = evaluate(str(run.path), **QUICK)
    direct = evaluate_model(model, Digits().load("test"), THREAT, **QUICK)
    assert evaluation.verdicts.table.equals(direct.verdicts.table, check_metadata=True)
    assert run.read_result() == evaluation.result
    assert Verdicts.read(run.verdicts).table.equals(evaluation.verdicts.table)
    assert run.report.is_file()
    assert run.config.read_bytes() == before


def test_what_is_given_overrides_the_run(run: RunFolder, tmp_path: Path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wider = SmallCNN(10, 1, width=4)
    save_file(wider.state_dict(), tmp_path / "wider.safetensors")
    out = tmp_path / "elsewhere"
    result = evaluate(
        str(run.path),
        model=partial(SmallCNN, width=4),
        weights=str(tmp_path / "wider.safetensors"),
        data=Digits(seed=1),
        threat=ThreatModel("linf", "4/255"),
        out=str(out),
        **QUICK,
    ).result
    direct = evaluate_model(wider, Digits(seed=1).load("test"), ThreatModel("linf", "4/255"), **QUICK).result
    for name in ("threat", "data", "model", "figures"):
        assert result[name] == direct[name]
    assert not run.result.exists()
    assert RunFolder(out).read_result() == result


def test_a_model_from_elsewhere_and_its_configuration_runs_again(
    tmp_path: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    save_file(model.state_dict(), "best.safetensors")
    small = partial(SmallCNN, width=3)
    first = evaluate(model=small, weights="best.safetensors", data=Digits(), threat=THREAT, **QUICK)
    folder = RunFolder("runs/evaluate-best")
    assert folder.report.is_file()
    config = yaml.safe_load(folder.config.read_text())
    assert config["model"]["init_args"] == {"width": 3, "num_classes": 10, "in_channels": 1}
    assert {name: config[name] for name in QUICK} == QUICK
    assert (config["weights"], config["threat"]) == ("best.safetensors", {"norm": "l2", "eps": 0.4})
    ready = evaluate(model=model, data=Digits(), threat=THREAT, out="runs/ready", **QUICK)
    assert ready.verdicts.table.equals(first.verdicts.table, check_metadata=True)


def test_the_threat_defaults_to_8_255(tmp_path: Path, model: nn.Module):
    result = evaluate(model=model, data=Digits(), out=str(tmp_path / "out"), **QUICK).result
    assert result["threat"] == {"norm": "linf", "eps": 8 / 255}


def test_a_result_is_not_replaced_unasked(run: RunFolder):
    first = evaluate(str(run.path), **QUICK).result
    with pytest.raises(RunError, match=r"has a result already.*--overwrite.*--out"):
        evaluate(str(run.path), **QUICK)
    assert run.read_result() == first
    again = evaluate(str(run.path), overwrite=True, **{**QUICK, "test_images": 5}).result
    assert run.read_result() == again
    assert run.model.exists()


def test_other_folders_are_left_alone(run: RunFolder, tmp_path: Path, model: nn.Module):
    other = RunFolder(tmp_path / "runs" / "other")
    other.create()
    save_file(model.state_dict(), other.model)
    with pytest.raises(RunError, match="training run of its own"):
        evaluate(str(run.path), out=str(other.path), overwrite=True, **QUICK)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.txt").write_text("a cat")
    with pytest.raises(RunError, match="holds no evaluation"):
        evaluate(str(run.path), out=str(photos), overwrite=True, **QUICK)
    assert (photos / "cat.txt").read_text() == "a cat"


def test_nothing_is_left_of_a_refused_evaluation(run: RunFolder, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="test_images"):
        evaluate(str(run.path), out=str(out), **{**QUICK, "test_images": 10_000})
    evaluate(str(run.path), out=str(out), **QUICK)
    assert RunFolder(out).result.exists()


def test_without_a_run_everything_else_is_needed(model: nn.Module):
    with pytest.raises(InputError, match=r"missing: --model, --weights, --data; expected `toughen evaluate runs"):
        evaluate()
    with pytest.raises(InputError, match="missing: --weights;"):
        evaluate(model=SmallCNN, data=Digits())
    with pytest.raises(InputError, match="missing: --data;"):
        evaluate(model=model)


def test_a_folder_that_is_no_run(tmp_path: Path, run: RunFolder):
    with pytest.raises(RunError, match="no run folder at"):
        evaluate(str(tmp_path / "none"), **QUICK)
    run.model.unlink()
    with pytest.raises(RunError, match=r"no model\.safetensors"):
        evaluate(str(run.path), **QUICK)
    run.write_config({"epochs": 3})
    with pytest.raises(RunError, match=r"config\.yaml has no model, data, threat"):
        evaluate(str(run.path), **QUICK)
