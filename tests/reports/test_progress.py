"""What an evaluation says while it runs, on a terminal and where none is."""

import io

import pytest
from rich.console import Console

from toughen.evaluation import Step
from toughen.reports import progress as module
from toughen.reports.progress import EvaluationProgress

STEPS = [
    Step(0, 500, "fgsm", None),
    Step(0, 500, "autoattack", None),
    Step(250, 500, "fgsm", 125.0),
    Step(500, 500, "", 0.0),
]


def shown(terminal: bool, steps: list[Step]) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    with EvaluationProgress(console) as bar:
        for step in steps:
            bar(step)
    return console.file.getvalue()


def test_a_terminal_shows_attack_images_and_time_left():
    text = shown(True, STEPS[:3])
    assert "evaluating: fgsm" in text
    assert "250/500 images, about 2 min 0" in text
    assert "so far" in shown(True, STEPS[:2])
    assert "500/500 images, took" in shown(True, STEPS)


def test_elsewhere_a_line_tells_the_time_left():
    assert shown(False, STEPS) == "250 of 500 images, about 2 min 05 s left\n"
    assert shown(False, STEPS[:2]) == ""


def test_elsewhere_there_is_at_most_one_line_a_minute(monkeypatch: pytest.MonkeyPatch):
    now = iter(range(0, 10_000, 20))
    monkeypatch.setattr(module, "monotonic", lambda: float(next(now)))
    steps = [Step(done, 1000, "fgsm", 10.0) for done in range(0, 1000, 10)]
    lines = shown(False, steps).count("\n")
    assert 10 <= lines <= 70
