"""`evaluate` on a run's folder and on a model from elsewhere: what it reads, writes and refuses."""

import io
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import nn

from toughen import evaluate
from toughen.data import Digits
from toughen.errors import InputError, RunError
from toughen.evaluation import Step, Verdicts, evaluate_model
from toughen.evaluation.records.evaluations import Evaluations
from toughen.models import SmallCNN, build_model
from toughen.models.deadline import Deadline, TimeUp
from toughen.reports.terminal import show_result
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")

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


def test_evaluations_lie_beside_each_other(run: RunFolder):
    """None replaces another; the run shows the one of most images at its own threat model, until a longer one comes."""
    few = evaluate(str(run.path), **{**QUICK, "test_images": 5})
    more = evaluate(str(run.path), **QUICK)
    assert run.read_result() == more.result
    evaluate(str(run.path), threat=ThreatModel("l2", 0.5), **{**QUICK, "test_images": 20})
    assert run.read_result() == more.result
    assert Verdicts.read(run.verdicts).table.equals(more.verdicts.table)
    kept = Evaluations(run).all()
    assert [(result["n"], result["threat"]["eps"]) for _, result in kept] == [(12, 0.4), (5, 0.4), (20, 0.5)]
    assert all(folder.report.is_file() for folder, _ in kept)
    again = evaluate(str(run.path), **{**QUICK, "test_images": 5})
    assert (again.reused, again.result) == (True, few.result)
    assert again.report == kept[1][0].report
    page = run.report.read_text()
    assert all(f'href="evaluations/{folder.path.name}/report.html"' in page for folder, _ in kept)


def test_an_earlier_versions_result_is_taken_in(run: RunFolder, tmp_path: Path):
    """Its only result lies among the run's own files."""
    first = evaluate(str(run.path), **QUICK)
    shutil.rmtree(run.path / "evaluations")
    evaluate(str(run.path), data=Digits(seed=1), **{**QUICK, "test_images": 20})
    assert run.read_result() == first.result, "of the run's own data"
    kept = Evaluations(run).all()
    assert [result["n"] for _, result in kept] == [12, 20]
    steps: list[Step] = []
    again = evaluate(str(run.path), progress=steps.append, **QUICK)
    assert steps == []
    assert again.result == first.result
    assert again.verdicts.table.equals(first.verdicts.table)


def test_the_same_evaluation_is_not_computed_again(run: RunFolder):
    first = evaluate(str(run.path), **QUICK)
    steps: list[Step] = []
    again = evaluate(str(run.path), progress=steps.append, **QUICK)
    assert steps == []
    assert (first.reused, again.reused) == (False, True)
    assert again.result == first.result
    assert again.verdicts.table.equals(first.verdicts.table, check_metadata=True)
    afresh = evaluate(str(run.path), overwrite=True, progress=steps.append, **QUICK)
    assert len(steps) == 4
    assert afresh.verdicts.table.equals(first.verdicts.table)
    assert not afresh.reused


def test_changed_weights_are_another_model(run: RunFolder):
    evaluate(str(run.path), **QUICK)
    weights = load_file(run.model)
    name = next(name for name in weights if name.endswith("bias"))
    weights[name][0] += 1e-6
    save_file(weights, run.model)
    few = {**QUICK, "test_images": 5}
    other = evaluate(str(run.path), **few)
    assert not other.reused
    assert run.read_result() == other.result, "the figures are those of the weights that the run has"
    assert len(Evaluations(run).all()) == 2
    assert "other weights" in run.report.read_text()


class Stopped(Exception):
    pass


def stop_at(place: int):
    seen: list[Step] = []

    def progress(step: Step) -> None:
        seen.append(step)
        if len(seen) > place:
            raise Stopped

    return progress


def test_a_stopped_evaluation_goes_on_and_leaves_no_parts(run: RunFolder, tmp_path: Path):
    settings = {**QUICK, "batch_size": 4}
    out = RunFolder(tmp_path / "out")
    with pytest.raises(Stopped):
        evaluate(str(run.path), out=str(out.path), progress=stop_at(3), **settings)
    assert not out.result.exists()
    assert len(list(out.path.glob("verdicts/*/*.parquet"))) == 5
    steps: list[Step] = []
    evaluation = evaluate(str(run.path), out=str(out.path), progress=steps.append, **settings)
    names = [(4, "pgd20_margin"), (8, "fgsm"), (8, "pgd20_margin"), (12, "self_checks")]
    assert [(step.done, step.attack) for step in steps[:-1]] == names
    whole = evaluate(str(run.path), **settings)
    assert evaluation.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    assert not (out.path / "verdicts").exists()
    assert out.config.exists()


def test_parts_of_another_evaluation_are_kept(run: RunFolder):
    with pytest.raises(Stopped):
        evaluate(str(run.path), progress=stop_at(1), **QUICK)
    evaluate(str(run.path), **{**QUICK, "seed": 1})
    assert len(list(run.path.glob("verdicts/*/evaluation.json"))) == 1


def test_an_incomplete_result_is_gone_on_with(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    """The time is up after the first batch: a result that says so, and the same call completes it."""
    settings = {**QUICK, "batch_size": 4}

    def late(self: Deadline) -> None:
        if self.seconds is not None and len(list(run.path.glob("verdicts/*/*.parquet"))) >= 3:
            raise TimeUp

    monkeypatch.setattr(Deadline, "check", late)
    cut = evaluate(str(run.path), time_limit=60, **settings)
    assert run.read_result() == cut.result
    assert (cut.result["complete"], cut.result["n"]) == (False, 4)
    assert run.report.is_file()
    console = Console(file=io.StringIO(), width=200)
    show_result(cut.result, console)
    assert "INCOMPLETE: 4 of 12 planned images" in console.file.getvalue()
    full = evaluate(str(run.path), **settings)
    assert (full.result["complete"], full.result["n"], full.reused) == (True, 12, False)
    assert run.read_result() == full.result


@pytest.mark.parametrize(("require", "met"), [("clean > 0 and robust < 1", True), ("robust >= 0.99", False)])
def test_a_requirement_is_ruled_on(run: RunFolder, require: str, met: bool):
    assert evaluate(str(run.path), require=require, **QUICK).requirement.met is met
    assert evaluate(str(run.path), require=require, **QUICK).requirement.met is met, "also of a result that was there"
    assert evaluate(str(run.path), **QUICK).requirement is None


def test_a_requirement_is_read_before_the_first_attack(run: RunFolder):
    with pytest.raises(InputError, match="unknown figure 'autoattack'"):
        evaluate(str(run.path), require="autoattack >= 0.4", progress=stop_at(0), **QUICK)
    with pytest.raises(InputError, match="toughen merge"):
        evaluate(str(run.path), require="robust >= 0.4", shard="1/2", **QUICK)


def test_transfer_from_other_runs(run: RunFolder, tmp_path: Path):
    result = evaluate(str(run.path), transfer=[str(run.path)], out=str(tmp_path / "out"), **QUICK).result
    assert list(result["figures"]) == ["clean", "fgsm", "pgd20_margin", "transfer_mine"]
    assert result["attacks"]["transfer_mine"]["source_sha256"] == result["model"]["sha256"]
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["transfer"] == [str(run.path)]
    with pytest.raises(RunError, match="no run folder at"):
        evaluate(str(run.path), transfer=["nowhere"], out=str(tmp_path / "out2"), **QUICK)


def test_a_shard_writes_no_result(run: RunFolder):
    settings = {**QUICK, "batch_size": 4, "sample": "first"}
    part = evaluate(str(run.path), shard="2/3", **settings)
    assert [row["index"] for row in part.verdicts.table.to_pylist()] == [4, 5, 6, 7]
    assert not run.result.exists()
    assert not run.report.exists()
    with pytest.raises(InputError, match="at most 3 shards"):
        evaluate(str(run.path), shard="4/4", **settings)
    with pytest.raises(InputError, match="expected i/n"):
        evaluate(str(run.path), shard="0/3", **settings)


@pytest.mark.parametrize("name", ["batch_size", "precision"])
def test_shards_have_to_agree_so_auto_is_refused(run: RunFolder, name: str):
    with pytest.raises(InputError, match=f"{name}: auto may differ between the parts"):
        evaluate(str(run.path), shard="1/3", **{**QUICK, "batch_size": 4, name: "auto"})


def test_what_auto_chose_is_recorded(run: RunFolder, tmp_path: Path):
    found = evaluate(str(run.path), out=str(tmp_path / "out"), batch_size="auto", precision="auto", **QUICK)
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (config["batch_size"], config["precision"]) == (12, "folded")
    assert (found.result["batch_size"], found.result["precision"]) == (12, "folded")


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


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_evaluation_killed_before_its_first_verdict_can_be_made_again(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
):
    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("toughen.commands.evaluate.run_in", killed)
        evaluate(str(run.path), out=str(tmp_path / "out"), **QUICK)
    assert (tmp_path / "out" / "config.yaml").exists()
    assert evaluate(str(run.path), out=str(tmp_path / "out"), overwrite=overwrite, **QUICK).result["complete"]


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
