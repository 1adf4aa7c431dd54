"""Workers in processes of their own share a study: each trial is run once, and one that a kill left is taken up."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toughen.errors import InputError
from toughen.search.records import TrialRecord
from toughen.search.space import read_space
from toughen.search.trials import Search, SearchPlan

NIGHTLY = pytest.mark.nightly
WORKER = Path(__file__).with_name("worker.py")
Start = Callable[..., subprocess.Popen]


def start(folder: Path, storage: str, search: str, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), storage, search, *more], stdout=subprocess.PIPE, text=True
    )


def trials(worker: subprocess.Popen) -> list[tuple[int, dict]]:
    said, _ = worker.communicate(timeout=120)
    return [tuple(json.loads(line)) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("database", "workers"), [(False, 1), pytest.param(False, 3, marks=NIGHTLY), pytest.param(True, 3, marks=NIGHTLY)]
)
def test_workers_run_each_trial_once_and_take_up_what_a_kill_left(tmp_path: Path, database: bool, workers: int) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}" if database else ""
    hanging = start(tmp_path, storage, "tpe", "hang")
    number, values = json.loads(hanging.stdout.readline())
    others = [start(tmp_path, storage, "tpe") for _ in range(workers)]
    first = json.loads(others[0].stdout.readline())
    assert first[0] != number, "two workers are at work on one trial"
    hanging.kill()
    run = [tuple(first), *(each for other in others for each in trials(other))]
    if len(run) < 12:  # the kill came after the others had looked for the last time
        run += trials(start(tmp_path, storage, "tpe"))
    assert sorted(each for each, _ in run) == list(range(12))
    assert dict(run)[number] == values


def test_one_worker_chooses_the_same_when_it_goes_on(tmp_path: Path) -> None:
    axes = read_space({"a": {"low": 0.001, "high": 1, "log": True}})
    plan, found = SearchPlan(axes, "tpe", 8, True, 3, 4), []
    for breaks in (1, 8):
        folder = tmp_path / str(breaks)
        folder.mkdir()
        while True:
            study = Search(folder, "study", plan)
            left = 8 // breaks
            while left:
                with study.claim() as trial:
                    if trial is None:
                        break
                    trial.report(1, trial.values["a"])
                    trial.end(TrialRecord(trial.number, "complete", trial.values, 0.5, trial.values["a"], 4))
                left -= 1
            if left:
                break
        found.append(study.records())
    assert found[0] == found[1]
    assert len(found[0]) == 8


def test_a_grid_is_every_combination_once(tmp_path: Path) -> None:
    axes, run = read_space({"a": {"low": 0, "high": 0.5, "step": 0.25}, "b": ["x", None]}), []
    for _ in range(9):  # a worker each
        with Search(tmp_path, "study", SearchPlan(axes, "grid", 6, False, 0, 2)).claim() as trial:
            if trial is not None:
                run.append(trial.values)
                trial.end(TrialRecord(trial.number, "complete", trial.values, 0.5, 0.5, 2))
    assert run == [{"a": a, "b": b} for a in (0, 0.25, 0.5) for b in ("x", None)]


def test_a_trial_that_falls_behind_is_told_so_not_in_its_first_third(tmp_path: Path) -> None:
    study = Search(tmp_path, "study", SearchPlan(read_space({"a": [0, 1, 2, 3]}), "grid", 4, True, 0, 6))
    ends = []
    for goodness in (0.5, 0.6, 0.7, 0.1):
        with study.claim() as trial:
            for epoch in range(1, 7):
                trial.report(epoch, goodness)
                if trial.falls_behind:
                    ends.append((trial.number, epoch))
                    break
            trial.end(TrialRecord(trial.number, "pruned" if ends else "complete", trial.values, 0.9, goodness, epoch))
    assert ends == [(3, 3)]
    assert [each.state for each in study.records()] == ["complete"] * 3 + ["pruned"]


def test_the_setting_that_decides_is_the_important_one(tmp_path: Path) -> None:
    axes = read_space({"a": [0, 1, 2, 3], "b": [0, 3]})
    study = Search(tmp_path, "study", SearchPlan(axes, "grid", 8, False, 0, 2))
    assert study.importance() == {}
    for _ in range(8):
        with study.claim() as trial:
            robust = trial.values["a"] / 4 + trial.values["b"] / 100
            trial.end(TrialRecord(trial.number, "complete", trial.values, 0.9, robust, 2))
    importance = study.importance()
    assert list(importance) == ["a", "b"]
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["a"] > 0.8  # 99.7 % of the variance; from eight trials the forest finds less


def test_an_address_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--storage: cannot open the database"):
        Search(tmp_path, "study", SearchPlan(read_space({"a": [1, 2]}), "tpe", 2, False, 0, 1), "nonsense")
