"""Which evaluation a run shows, and that no kill loses one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen.data import Digits
from toughen.errors import ToughenWarning
from toughen.evaluation import Evaluation, evaluate_model
from toughen.evaluation.gallery import PICTURES
from toughen.evaluation.records.evaluations import Evaluations
from toughen.models import SmallCNN, build_model
from toughen.run import RunFolder
from toughen.threat import ThreatModel


@pytest.fixture(scope="module")
def found() -> Evaluation:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(partial(SmallCNN, width=3), num_classes=10, in_channels=1, mean=[0.3], std=[0.4])
    images = Digits().load("test")
    whole = evaluate_model(model, images, ThreatModel("l2", 0.4), budget="quick", test_images=8, checks=False)
    pictures = {name: torch.zeros([1] * dimensions, dtype=dtype) for name, (dtype, dimensions) in PICTURES.items()}
    return replace(whole, gallery={**pictures, "kinds": torch.zeros(1, dtype=torch.int64)})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.write_config({"threat": {"norm": "l2", "eps": "0.4"}})
    return folder


def other(found: Evaluation, number: int, **changes: Any) -> Evaluation:
    """An evaluation with another key."""
    return replace(found, result={**found.result, "key": f"{number:08x}", **changes})


MANY = {"accuracy": 0.0, "interval": [0.0, 0.0], "held": 0, "n": 10_000}
STANDARD = {"budget": "standard", "attacks": {"autoattack": {"standard": True}}}
NOTHING_LEFT = {"left": 0, "audited": 0, "broken": 0, "estimate": 0.0, "interval": [0.0, 0.0], "upper": 0.0}
AUDITED = {"budget": "fast", "audit": {**NOTHING_LEFT, "suspicious": False, "attack": {"standard": True}}}
UNAUDITED = {**AUDITED, "audit": {**AUDITED["audit"], "left": 2}}
BETTER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"threat": {"norm": "l2", "eps": 0.5}, **STANDARD}),
    ({}, {"complete": False, **STANDARD}),
    (STANDARD, {"robust_accuracy": MANY}),
    (STANDARD, {**STANDARD, "attacks": {"autoattack": {"standard": False}}, "robust_accuracy": MANY}),
    ({**STANDARD, "robust_accuracy": MANY}, {**STANDARD, "budget": "thorough"}),
    ({**STANDARD, "budget": "thorough"}, STANDARD),
    (AUDITED, {"robust_accuracy": MANY}),
    (AUDITED, UNAUDITED),
    ({"robust_accuracy": MANY}, UNAUDITED),
    ({"created": "2026-01-02T00:00:00+00:00"}, {"created": "2026-01-01T00:00:00+00:00"}),
]


@pytest.mark.parametrize(("better", "worse"), BETTER)
@pytest.mark.parametrize("order", [1, -1])
def test_the_headline(
    found: Evaluation, run: RunFolder, better: dict[str, Any], worse: dict[str, Any], order: int
) -> None:
    kept = Evaluations(run)
    for number, changes in list(enumerate((better, worse)))[::order]:
        kept.add(other(found, number, **changes))
        kept.choose_headline()
    assert run.read_result()["key"] == "00000000"
    assert [result["key"] for _, result in kept.all()] == ["00000000", "00000001"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_headline_is_of_the_runs_own_network_and_data(found: Evaluation, run: RunFolder, order: int) -> None:
    kept = Evaluations(run)
    before, mine, foreign = other(found, 1), other(found, 2, model={"sha256": "now"}), other(found, 3, **STANDARD)
    kept.note_own(before.result)
    kept.note_own(mine.result)
    for each in [before, mine, foreign][::order]:
        kept.add(each)
    assert kept.all()[0][1] == mine.result, "the weights have changed since"
    run.write_config({**run.read_config(), "data": {"class_path": "other"}})
    kept.note_own(foreign.result)
    assert kept.all()[0][1] == foreign.result, "the data has changed since"


class Killed(BaseException):
    pass


def killed_at(place: int, patch: pytest.MonkeyPatch) -> None:
    """Let the so-manyth change of the disk, from 0, and all after it fail."""
    count = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **settings: Any) -> Any:
            nonlocal count
            count += 1
            if count > place:
                raise Killed
            return change(*arguments, **settings)

        return changed

    for owner, names in ((Path, ("rename", "replace", "unlink", "mkdir")), (shutil, ("copyfile", "rmtree"))):
        for name in names:
            patch.setattr(owner, name, counted(getattr(owner, name)))


def old_run(found: Evaluation, run: RunFolder) -> None:
    """What an earlier version left."""
    other(found, 1).save(run)


def new_run(found: Evaluation, run: RunFolder) -> None:
    """The same evaluation, before an analysis was added to it."""
    Evaluations(run).add(other(found, 1))
    Evaluations(run).add(other(found, 2, analyses={}))
    Evaluations(run).choose_headline()


@pytest.mark.parametrize("begin", [old_run, new_run])
@pytest.mark.filterwarnings("error")
def test_after_a_kill_at_any_change_of_the_disk_the_same_call_goes_on(
    found: Evaluation, run: RunFolder, begin: Callable[[Evaluation, RunFolder], None]
) -> None:
    more = other(found, 2, analyses={"mine": {}}, robust_accuracy={**found.result["robust_accuracy"], "n": 9})

    def keep() -> None:
        kept = Evaluations(run)
        kept.note_own(more.result)
        kept.add(more)
        kept.choose_headline()

    changes = 0
    while True:
        shutil.rmtree(run.path)
        run.create()
        begin(found, run)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(changes, patch)
            try:
                keep()
            except Killed:
                pass
            else:
                break
        if run.result.exists():  # what a reader meets meanwhile is one evaluation, whole
            assert Evaluation.load(run).result["n"] == len(Evaluation.load(run).verdicts)
        keep()
        assert run.read_result() == more.result
        assert [result["key"] for _, result in Evaluations(run).all()] == ["00000002", "00000001"]
        assert all(Evaluation.load(folder).gallery for folder, _ in Evaluations(run).all())
        changes += 1
    assert changes > 8


def test_a_damaged_one_does_not_hide_the_others(found: Evaluation, run: RunFolder) -> None:
    kept = Evaluations(run)
    damaged, whole = kept.add(other(found, 1)), kept.add(other(found, 2))
    damaged.result.write_text('{"schema": 1')
    with pytest.warns(ToughenWarning, match=f"cannot read {damaged.result}: .*`toughen evaluate {run.path} --over"):
        kept.choose_headline()
    assert json.loads(run.result.read_text()) == whole.read_result()


def test_a_run_in_a_folder_of_that_name_is_a_run(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "evaluations" / "mine").run == tmp_path / "evaluations" / "mine"
