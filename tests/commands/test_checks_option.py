"""`--checks` and `--require checks`: what is computed, kept and said."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from toughen import evaluate
from toughen.attacks.base import FURTHER
from toughen.cli import main
from toughen.evaluation import Evaluation
from toughen.evaluation.records.evaluations import Evaluations
from toughen.reports.terminal import show_result
from toughen.run import RunFolder
from toughen.threat import ThreatModel

QUICK = {"budget": "quick", "test_images": 40, "device": "cpu"}


@pytest.fixture
def run(untrained: Callable[[ThreatModel], RunFolder]) -> RunFolder:
    return untrained(ThreatModel("linf", 0.05))


def passed(evaluation: Evaluation) -> dict[str, bool | None]:
    return {check["name"]: check["passed"] for check in evaluation.result["checks"]}


def test_checks_are_added_to_a_finished_evaluation(run: RunFolder):
    without = evaluate(str(run.path), checks=False, **QUICK)
    assert passed(without)["unbounded_reaches_zero"] is None
    steps: list[str] = []
    added = evaluate(str(run.path), progress=lambda step: steps.append(step.attack), **QUICK)
    assert not {"fgsm", "pgd20_margin"} & set(steps)
    assert not added.reused
    assert passed(added)["unbounded_reaches_zero"] is True
    assert added.result["masking_suspected"] == []
    assert added.verdicts.table.equals(without.verdicts.table)
    assert run.read_result() == added.result
    fresh = evaluate(str(run.path), overwrite=True, **QUICK)
    assert fresh.result["checks"] == added.result["checks"]
    # Switched off or on, what is there stays.
    assert evaluate(str(run.path), checks=False, **QUICK).result["checks"] == added.result["checks"]
    assert evaluate(str(run.path), **QUICK).reused


def test_a_warning_that_they_did_not_run_goes_when_they_did(run: RunFolder):
    evaluate(str(run.path), checks=False, **QUICK)
    ((folder, result),) = Evaluations(run).all()
    kept = "something else"
    folder.write_result({**result, "warnings": ["not run (time limit of 5 s): self_checks", kept]})
    assert evaluate(str(run.path), **QUICK).result["warnings"] == [kept]


def test_they_can_be_required(run: RunFolder, capsys: pytest.CaptureFixture[str]):
    words = ["evaluate", str(run.path), "--budget", "quick", "--test_images", "40", "--device", "cpu"]
    assert main([*words, "--checks", "false", "--require", "robust < 1 and checks"]) == 1
    assert capsys.readouterr().err == "toughen: requirement not met: checks: the self-checks did not run\n"
    assert main([*words, "--require", "robust < 1 and checks"]) == 0
    assert "checks: none failed" in capsys.readouterr().out
    ((folder, result),) = Evaluations(run).all()
    folder.write_result({**result, "masking_suspected": ["eps_never_helps"], "further": list(FURTHER)})
    assert main([*words, "--require", "checks"]) == 1
    said = capsys.readouterr()
    assert said.err.endswith("checks: gradient masking suspected: eps_never_helps\n")
    assert "gradient masking suspected" in said.out


def test_the_terminal_names_them_beside_the_robust_accuracy(run: RunFolder):
    result = evaluate(str(run.path), **QUICK).result
    rows = [{**row, "passed": row["name"] != "noise_never_wins"} for row in result["checks"]]
    for changes, expected in [({}, False), ({"checks": rows, "masking_suspected": ["noise_never_wins"]}, True)]:
        console = Console(width=80, file=io.StringIO())
        show_result({**result, **changes}, console)
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        place = next(number for number, line in enumerate(lines) if line.strip().startswith("all together"))
        assert lines[place + 1].strip().startswith("gradient masking suspected") is expected
        text = " ".join(" ".join(lines).split())
        assert ("failed check: Random noise breaks nothing that the attacks left: 20 random" in text) is expected
        assert all(len(line) <= 80 for line in lines)
