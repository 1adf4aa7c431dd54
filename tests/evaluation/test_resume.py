"""An evaluation that is stopped, killed, cut in shards or asked for again gives the rows of one that was not."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.errors import RunError, ToughenWarning
from toughen.evaluation import (
    AnalysisContext,
    Evaluation,
    Shard,
    Step,
    evaluate_model,
    find_parts,
    merge_parts,
    prepare,
)
from toughen.evaluation.records.probe import what_changed
from toughen.evaluation.records.store import VerdictStore, unfinished
from toughen.evaluation.runner import Runner, analyse
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks")

THREAT = ThreatModel("linf", 0.08)
SETTINGS = {"budget": "quick", "test_images": 45, "sample": "first", "batch_size": 10, "seed": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def whole(network, images) -> Evaluation:
    return evaluate_model(network, images, THREAT, **SETTINGS)


def same(first: Evaluation, second: Evaluation) -> bool:
    """Rows, what is said with the table, figures and images."""
    ignored = ("created", "seconds")
    results = [{k: v for k, v in e.result.items() if k not in ignored} for e in (first, second)]
    pictures = first.gallery.keys() == second.gallery.keys() and all(
        torch.equal(tensor, second.gallery[name]) for name, tensor in first.gallery.items()
    )
    tables = first.verdicts.table.equals(second.verdicts.table, check_metadata=True)
    return tables and pictures and results[0] == results[1]


class Stopped(Exception):
    pass


class StopAt:
    """A progress that stops the evaluation as the given step begins."""

    def __init__(self, place: int) -> None:
        self.place, self.steps = place, list[Step]()

    def __call__(self, step: Step) -> None:
        if len(self.steps) == self.place:
            raise Stopped
        self.steps.append(step)


@pytest.mark.parametrize("place", [1, 4, 7])
def test_it_goes_on_where_it_stopped(tmp_path: Path, network, images, whole, place: int):
    folder = RunFolder(tmp_path)
    with pytest.raises(Stopped):
        evaluate_model(network, images, THREAT, folder=folder, progress=StopAt(place), **SETTINGS)
    steps: list[Step] = []
    resumed = evaluate_model(network, images, THREAT, folder=folder, progress=steps.append, **SETTINGS)
    assert same(resumed, whole)
    assert len(steps) == 10 - place + 2
    # An attack that was timed before the stop counts for what is left.
    assert (steps[0].left is None) == (place == 1)


def test_nothing_is_computed_twice(tmp_path: Path, network, images, whole):
    folder = RunFolder(tmp_path)
    evaluate_model(network, images, THREAT, folder=folder, **SETTINGS)
    steps: list[Step] = []
    again = evaluate_model(network, images, THREAT, folder=folder, progress=steps.append, **SETTINGS)
    assert same(again, whole)
    assert [step.attack for step in steps] == ["self_checks", ""]
    assert again.result["seconds"] == {name: pytest.approx(s) for name, s in again.result["seconds"].items()}


def test_another_evaluation_starts_from_the_beginning(tmp_path: Path, network, images):
    """The folder holds all verdicts of one evaluation; each changed one computes all of its own."""
    folder, few = RunFolder(tmp_path), {**SETTINGS, "test_images": 15}
    evaluate_model(network, images, THREAT, folder=folder, **few)
    changed = nn.Sequential(*network)
    changed[4] = nn.Linear(128, 10)
    changed[4].load_state_dict(network[4].state_dict())
    with torch.no_grad():
        changed[4].weight[0, 0] += 1e-6
    for model, threat, settings in [
        (changed, THREAT, few),
        (network, ThreatModel("linf", 0.0801), few),
        (network, THREAT, {**few, "seed": 4}),
    ]:
        steps: list[Step] = []
        fresh = evaluate_model(model, images, threat, folder=folder, progress=steps.append, **settings)
        assert len(steps) == 4 + 2
        assert same(fresh, evaluate_model(model, images, threat, **settings))
    assert len(unfinished(folder)) == 4


KILLED = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from conftest import digits_of, trained_network
from toughen.evaluation import evaluate_model
from toughen.run import RunFolder
from toughen.threat import ThreatModel
torch.set_num_threads(1)
evaluate_model(
    trained_network(10), digits_of(10), ThreatModel("linf", 0.08), folder=RunFolder({folder!r}),
    progress=lambda step: time.sleep(0.3), **{settings!r}
)
"""


@pytest.mark.nightly  # at every change of the disk, in this process: tests/evaluation/records/test_evaluations.py
def test_a_killed_process(tmp_path: Path, network, images, whole):
    """kill -9 after a few units, in the middle of things; the rest is computed here."""
    script = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "run"), settings=SETTINGS)
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = monotonic() + 120
    while len(list(tmp_path.glob("run/verdicts/*/*.parquet"))) < 4 and process.poll() is None:
        assert monotonic() < deadline
        sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(list(tmp_path.glob("run/verdicts/*/*.parquet")))
    assert 4 <= done < 15
    steps: list[Step] = []
    resumed = evaluate_model(
        network, images, THREAT, folder=RunFolder(tmp_path / "run"), progress=steps.append, **SETTINGS
    )
    assert same(resumed, whole)
    assert len(steps) < 11
    assert len(unfinished(RunFolder(tmp_path / "run"))) == 1, "the killed process had the same key"


@pytest.mark.parametrize("shared", [True, False])
def test_three_shards_are_the_whole(tmp_path: Path, network, images, whole, shared: bool):
    folders = [RunFolder(tmp_path / ("run" if shared else str(number))) for number in (1, 2, 3)]
    rows = 0
    for number in (3, 1, 2):
        part = evaluate_model(network, images, THREAT, shard=Shard(number, 3), folder=folders[number - 1], **SETTINGS)
        assert not part.result["complete"]
        assert any(f"shard {number}/3" in warning for warning in part.result["warnings"])
        rows += len(part.verdicts)
    assert rows == 45
    merged = merge_parts(find_parts(folders[:1] if shared else folders))
    assert same(merged, whole)


def test_missing_shards_are_named(tmp_path: Path, network, images):
    folder = RunFolder(tmp_path)
    evaluate_model(network, images, THREAT, shard=Shard(2, 3), folder=folder, **SETTINGS)
    with pytest.raises(RunError, match=r"3 of 5 batches \(30 of 45 images\).* 1/3 \(not begun\), 3/3 \(not begun\)"):
        merge_parts(find_parts([folder]))
    with pytest.raises(Stopped):
        evaluate_model(network, images, THREAT, shard=Shard(1, 3), folder=folder, progress=StopAt(3), **SETTINGS)
    with pytest.raises(RunError, match=r"1/3 \(unfinished\), 3/3 \(not begun\).*--shard 1/3, --shard 3/3"):
        merge_parts(find_parts([folder]))


def test_an_unfinished_evaluation_without_shards_is_to_be_gone_on_with(tmp_path: Path, network, images):
    folder = RunFolder(tmp_path)
    with pytest.raises(Stopped):
        evaluate_model(network, images, THREAT, folder=folder, progress=StopAt(3), **SETTINGS)
    with pytest.raises(RunError, match="go on with the same `toughen evaluate`"):
        merge_parts(find_parts([folder]))


def test_shards_of_different_evaluations_do_not_join(tmp_path: Path, network, images):
    first, second = RunFolder(tmp_path / "1"), RunFolder(tmp_path / "2")
    evaluate_model(network, images, THREAT, shard=Shard(1, 2), folder=first, **SETTINGS)
    evaluate_model(network, images, ThreatModel("linf", 0.1), shard=Shard(2, 2), folder=second, **SETTINGS)
    with pytest.raises(RunError, match=r"different evaluations; they differ in threat\.eps \(0\.1, 0\.08\)"):
        find_parts([first, second])
    key = unfinished(second)[0].spec.key
    assert [parts.spec.key for parts in find_parts([second], key[:6])] == [key]
    with pytest.raises(RunError, match="no parts of an evaluation whose key begins with xyz"):
        find_parts([second], "xyz")
    with pytest.raises(RunError, match="--shard i/n"):
        find_parts([RunFolder(tmp_path / "none")])


def test_after_the_time_limit_there_is_a_result(
    tmp_path: Path, network, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within an attack, at once; asked again without a limit it goes on to the end. A look takes a second."""
    clock, folder = count(), RunFolder(tmp_path)
    monkeypatch.setattr("toughen.models.deadline.monotonic", lambda: float(next(clock)))
    evaluate_model(network, images, THREAT, checks=False, time_limit=1e9, **{**SETTINGS, "test_images": 10})
    one_batch = next(clock)
    assert one_batch > 100  # a look before every pass
    limit = 1.6 * one_batch
    cut = evaluate_model(network, images, THREAT, checks=False, time_limit=limit, folder=folder, **SETTINGS)
    assert next(clock) - one_batch < limit + 4
    assert cut.result["complete"] is False
    assert cut.result["n"] in (10, 20)
    assert len(cut.verdicts) == cut.result["n"]
    assert cut.result["warnings"][0].startswith("incomplete (time limit of ")
    steps: list[Step] = []
    full = evaluate_model(network, images, THREAT, checks=False, folder=folder, progress=steps.append, **SETTINGS)
    assert full.result["complete"]
    assert steps[0].done == cut.result["n"]
    assert same(full, evaluate_model(network, images, THREAT, checks=False, **SETTINGS))


class Brightness:
    """Accuracy on darkened images: an analysis of a user."""

    name = "brightness"

    def __init__(self, factor: float) -> None:
        self.factor, self.runs = factor, 0

    def settings(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def run(self, scene: AnalysisContext) -> dict[str, Any]:
        self.runs += 1
        right = 0
        for indices in scene.batches(25):
            pictures, labels = scene.images.subset(indices)
            right += int((scene.model(pictures * self.factor).argmax(1) == labels).sum())
        return {"right": right, "attacks": [attack.name for attack in scene.attacks]}


def test_an_analysis_runs_once_and_is_merged(tmp_path: Path, network, images):
    folder, analysis = RunFolder(tmp_path), Brightness(0.5)
    for number in (1, 2):
        shard = {"shard": Shard(number, 2), "folder": folder, "analyses": [analysis], "checks": False}
        evaluate_model(network, images, THREAT, **shard, **SETTINGS)
    pictures, labels = images.subset(torch.arange(25))
    with torch.no_grad():
        right = int((network(pictures * 0.5).argmax(1) == labels).sum())
    found = {"settings": {"factor": 0.5}, "right": right, "attacks": ["fgsm", "pgd20_margin"]}
    assert merge_parts(find_parts([folder])).result["analyses"] == {"brightness": found}
    assert analysis.runs == 1
    task = prepare(network, images, THREAT, analyses=[analysis], checks=False, **SETTINGS)
    assert Runner(task, folder=folder).carry_out().analyses == {"brightness": found}
    assert analysis.runs == 1
    other = Brightness(0.7)
    again = prepare(network, images, THREAT, analyses=[other], checks=False, **SETTINGS)
    assert Runner(again, folder=folder).carry_out().analyses["brightness"]["settings"] == {"factor": 0.7}
    assert other.runs == 1
    assert VerdictStore(folder, task.spec).noted("brightness")["settings"] == {"factor": 0.7}
    assert analyse(task, [analysis]) == {"brightness": found}


class NumPyNoise(nn.Module):
    """Noise that torch's seed does not give again: each process, and each pass, gets its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return logits + torch.from_numpy(np.random.normal(0, 0.5, logits.shape)).to(logits)


def test_two_processes_of_a_model_with_numpys_noise_keep_each_others_verdicts(tmp_path: Path, network, images):
    """Each sees other logits; rows of both are joined, and what is there is neither deleted nor computed again."""
    folder, settings = RunFolder(tmp_path), {**SETTINGS, "test_images": 8, "batch_size": 4, "eot": 2, "checks": False}
    tasks = [prepare(NumPyNoise(network), images, THREAT, **settings) for _ in range(2)]
    for number in (1, 2):
        Runner(tasks[number - 1], Shard(number, 2), folder).carry_out()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    assert len(files) == 6
    merged = merge_parts(find_parts([folder]))
    assert len(merged.verdicts) == 8
    steps: list[Step] = []
    work = Runner(tasks[1], folder=folder, progress=steps.append).carry_out()
    assert {step.attack for step in steps}.isdisjoint(tasks[1].spec.attacks), "these are there"
    assert all(path.read_bytes() == there for path, there in files.items())
    assert set(files) <= set(tmp_path.rglob("*.parquet"))
    assert work.batches[0].table.equals(merged.verdicts.table.slice(0, 4).select(work.batches[0].table.column_names))


class TorchNoise(NumPyNoise):
    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return logits + 0.5 * torch.randn_like(logits)


def test_of_a_model_with_torchs_noise_other_answers_are_still_seen(network, images):
    probes = []
    for model in (network, network, Hidden(network, lambda: 2.0)):
        with pytest.warns(ToughenWarning, match="the model is random"):
            probes.append(prepare(TorchNoise(model), images, THREAT, **SETTINGS).spec.probe)
    assert what_changed(probes[0], probes[1]) == ""
    assert what_changed(probes[0], probes[2]) == "logits"


class Hidden(nn.Module):
    """The network times a number that no hash can see."""

    def __init__(self, network: nn.Module, number: Callable[[], float]) -> None:
        super().__init__()
        self.network, self.number = network, number

    def forward(self, images: Tensor) -> Tensor:
        return torch.where(torch.tensor(self.number() == 1), self.network(images), self.network(images.flip(3)))


def test_verdicts_of_a_model_that_answers_otherwise_are_not_used(tmp_path: Path, network, images, whole):
    """A number in a file: the same key, other logits. What is true of it is what a fresh folder gives."""
    number = tmp_path / "number"
    number.write_text("1")
    model, few = Hidden(network, lambda: float(number.read_text())), {**SETTINGS, "test_images": 10}
    first = evaluate_model(model, images, THREAT, folder=RunFolder(tmp_path / "run"), **few)
    assert first.verdicts.table.equals(whole.verdicts.table.slice(0, 10))
    number.write_text("2")
    fresh = evaluate_model(model, images, THREAT, **few)
    with pytest.warns(ToughenWarning, match="other logits .* begins anew"):
        again = evaluate_model(model, images, THREAT, folder=RunFolder(tmp_path / "run"), **few)
    assert first.result["key"] == again.result["key"]
    assert not first.verdicts.table.equals(again.verdicts.table)
    assert again.verdicts.table.equals(fresh.verdicts.table)
