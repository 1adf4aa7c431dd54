"""Analyses of a run: made with the evaluation, or added to one that is finished."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toughen import evaluate
from toughen.errors import InputError
from toughen.evaluation import Analysis, AnalysisContext, Step
from toughen.evaluation.analyses import EpsCurve, OtherNorms
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.threat import ThreatModel

QUICK: dict[str, Any] = {"budget": "quick", "test_images": 12, "device": "cpu", "checks": False}
CURVE = EpsCurve(points=3, images=8, steps=2)

pytestmark = pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")  # an untrained network guesses


@pytest.fixture
def run(untrained: Callable[[ThreatModel], RunFolder]) -> str:
    return str(untrained(ThreatModel("l2", 0.4)).path)


def test_more_analyses_join_a_finished_evaluation_without_attacks(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    first = evaluate(run, analyses=[CURVE], progress=steps.append, **QUICK)
    assert [step.attack for step in steps] == ["fgsm", "pgd20_margin", "eps_curve", ""]
    before = RunFolder(run).verdicts.read_bytes()
    # Attacks are judged through this name, analyses through their own.
    monkeypatch.delattr("toughen.evaluation.unit.judge")
    second = evaluate(run, analyses=[OtherNorms(images=4, steps=2)], **QUICK)
    assert list(second.result["analyses"]) == ["eps_curve", "other_norms"]
    assert second.result["analyses"]["eps_curve"] == first.result["analyses"]["eps_curve"]
    same = ("figures", "created", "seconds", "key", "per_class", "calibration")
    assert {name: second.result[name] for name in same} == {name: first.result[name] for name in same}
    assert RunFolder(run).verdicts.read_bytes() == before
    assert RunFolder(run).read_result() == second.result
    again = evaluate(run, analyses=[CURVE], **QUICK)
    assert again.reused
    assert again.result == second.result


def test_other_settings_make_it_anew(run: str) -> None:
    evaluate(run, analyses=[CURVE], **QUICK)
    result = evaluate(run, analyses=[EpsCurve(points=4, images=8, steps=2)], **QUICK).result
    assert result["analyses"]["eps_curve"]["settings"]["points"] == 4
    assert len(result["analyses"]["eps_curve"]["points"]) == 5


class Slow(Analysis):
    """Never ends by itself."""

    def run(self, scene: AnalysisContext) -> dict[str, Any]:
        while True:
            scene.model(torch.zeros(1, *scene.images.shape))


def test_what_time_was_not_enough_for_is_named(run: str) -> None:
    evaluate(run, **QUICK)
    result = evaluate(run, analyses=[CURVE, Slow()], time_limit=2.0, **QUICK).result
    assert list(result["analyses"]) == ["eps_curve"]
    assert "not run (time limit of 2 s): slow" in result["warnings"]


def test_the_configuration_names_them(run: str, tmp_path: Path) -> None:
    evaluate(run, analyses=[CURVE], out=str(tmp_path / "out"), **QUICK)
    assert RunFolder(tmp_path / "out").read_config()["analyses"] == [describe(CURVE)]


def test_each_may_be_asked_for_once(run: str) -> None:
    with pytest.raises(InputError, match="analyses: expected each once, got eps_curve 2 times"):
        evaluate(run, analyses=[CURVE, EpsCurve()], **QUICK)
