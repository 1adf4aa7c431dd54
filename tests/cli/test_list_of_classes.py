"""A setting that takes a list of classes, each with settings of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toughen.cli.parser import Parser
from toughen.commands.evaluate import evaluate
from toughen.errors import InputError
from toughen.evaluation.analyses import Corruptions, EpsCurve, OtherNorms
from toughen.settings.description import describe

Toughen = Callable[..., Any]


def asked(*words: str) -> list[Any]:
    request = Parser(evaluate, "run", skip=["progress"]).parse(["runs/a", *words])
    assert request is not None
    return [describe(analysis) for analysis in request.settings["settings"].analyses]


CURVE, NORMS = EpsCurve(), OtherNorms()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("--analyses EpsCurve", [CURVE]),
        ("--analyses eps_curve,OTHERNORMS", [CURVE, NORMS]),
        ("--analyses=[]", []),
        ("--analyses EpsCurve,OtherNorms --analyses.EpsCurve.points 17", [EpsCurve(points=17), NORMS]),
        ("--analyses.eps-curve.points 17 --analyses epscurve", [EpsCurve(points=17)]),
        ("--analyses Corruptions --analyses.corruptions.severities 1,2", [Corruptions(severities=[1, 2])]),
        ("--analyses OtherNorms --analyses.other_norms.eps.l2 1/4", [OtherNorms(eps={"l2": "1/4"})]),
        ("--analyses [{class_path:EpsCurve,init_args:{points:5}}]", [EpsCurve(points=5)]),
        ("--analyses toughen.evaluation.analyses.EpsCurve", [CURVE]),
    ],
)
def test_names_and_their_settings(line: str, expected: list[Any]) -> None:
    words = [word.replace(":", ": ") if word.startswith("[") else word for word in line.split()]
    assert asked(*words) == [describe(analysis) for analysis in expected]


def test_a_file_names_them_and_the_command_line_overrides(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("analyses:\n- OtherNorms\n- class_path: EpsCurve\n  init_args: {points: 5}\n")
    assert asked("--config", str(file)) == [describe(NORMS), describe(EpsCurve(points=5))]
    assert asked("--config", str(file), "--analyses", "EpsCurve") == [describe(CURVE)]


def test_the_printed_configuration_goes_back_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--analyses", "EpsCurve,Corruptions", "--analyses.EpsCurve.reach", "3"]
    assert Parser(evaluate, "run", skip=["progress"]).parse([*words, "--print_config"]) is None
    file = tmp_path / "printed.yaml"
    file.write_text(capsys.readouterr().out)
    assert "class_path: EpsCurve" in file.read_text()
    assert asked("--config", str(file)) == asked(*words)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--analyses EpsCurv", "--analyses: unknown name 'EpsCurv'; did you mean 'EpsCurve'?"),
        ("--analyses", "--analyses: expected names with commas between them, got nothing"),
        (
            "--analyses.eps_curve.points 5",
            "--analyses.eps_curve: eps_curve is not in the list; name it with --analyses",
        ),
        ("--analyses EpsCurve --analyses.corruptions.images 5", "corruptions is not in the list; Known: EpsCurve"),
        ("--analyses EpsCurve --analyses.EpsCurve.point 5", "unknown setting of EpsCurve; did you mean 'points'?"),
        ("--analyses EpsCurve --analyses.EpsCurve.points x", "--analyses.EpsCurve.points: expected an int, got 'x'"),
        ("--analyses EpsCurve --analyses.EpsCurve.points 1", "points: expected at least 2, got 1"),
        (
            "--analyses toughen.threat.ThreatModel",
            "toughen.threat.ThreatModel is not an Analysis; expected Corruptions",
        ),
    ],
)
def test_what_is_wrong_is_said(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        asked(*line.split())
    assert message in str(caught.value)


def test_help_names_them_and_their_settings(toughen: Toughen) -> None:
    names = toughen("evaluate", "--analyses.help").out
    assert all(name in names for name in ("Corruptions", "DecisionBased", "EpsCurve", "MinimumNorm", "OtherNorms"))
    text = toughen("evaluate", "--analyses.help", "epscurve").out
    assert text.startswith("--analyses EpsCurve\n\nAccuracy at radii from 0")
    assert "\n  --analyses.EpsCurve.points INT\n" in text
