"""Help texts: complete, within 80 columns, and free of Python."""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

import pytest

from toughen.attacks import GradientAttack
from toughen.catalog import classes
from toughen.cli.evaluate import IN_PYTHON
from toughen.cli.parser import Parser
from toughen.commands.compare import compare
from toughen.commands.evaluate import evaluate
from toughen.commands.train import train
from toughen.evaluation.settings import EvaluationSettings
from toughen.settings.names import import_path

Toughen = Callable[..., Any]
COMMANDS = {"train": train, "evaluate": evaluate, "compare": compare}
commands = pytest.mark.parametrize("command", COMMANDS)


def options(text: str) -> list[str]:
    """The options that have a line of their own."""
    return re.findall(r"^  --([\w.]+)", text, re.MULTILINE)


@commands
def test_help_names_every_parameter_with_its_docstring(toughen: Toughen, command: str) -> None:
    text = toughen(command, "--help").out
    words = " ".join(text.split())
    documentation = inspect.getdoc(COMMANDS[command]) or ""
    parameters = set(inspect.signature(COMMANDS[command]).parameters) - {"observer", "progress", "changes"}
    if command == "evaluate":
        parameters -= {*IN_PYTHON, "settings"}
        parameters |= {field.name for field in fields(EvaluationSettings)}
        documentation += inspect.getdoc(EvaluationSettings) or ""
    shown = {option.partition(".")[0] for option in options(text)} | {"run" if " RUN " in text else "runs"}
    assert parameters <= shown
    for name in parameters:
        described = re.search(rf"^    {name}: (.*)$", documentation, re.MULTILINE)
        assert described, name
        if f"--{name}.lr" not in words:  # the optimiser is shown by its settings
            assert " ".join(described[1].split()) in words, name


@commands
def test_help_is_readable(toughen: Toughen, command: str) -> None:
    text = toughen(command, "--help").out
    assert max(map(len, text.splitlines())) <= 82  # one example is a long command
    assert all(line == line.rstrip() for line in text.splitlines())
    for noise in (
        "class_path",
        "<class",
        "typing",
        "Union",
        "Optional",
        "type:",
        "required",
        "toughen.",
        "known subclasses",
    ):
        assert noise not in text
    assert len(text.splitlines()) < 240
    assert "examples:\n" in text


@commands
def test_every_way_to_ask_for_help(toughen: Toughen, command: str) -> None:
    first = toughen(command, "--help")
    assert first.status == 0
    assert first.err == ""
    assert toughen(command, "-h") == first
    assert toughen("help", command) == first
    assert toughen(command, "--seed", "x", "--help") == first


def sample(
    *,
    number: int = 3,
    text: str | None = None,
    switch: bool = False,
    kept: bool = True,
    choice: Literal["a", "b"] = "b",
    several: list[str] = ["x", "y"],  # noqa: B006
    attack: GradientAttack = GradientAttack(steps=7),
    needed: float,
) -> None:
    """Do something.

    Args:
        number: how many.
        text: any; default none.
        switch: turn it on.
        kept: turn it off.
        choice: one of two.
        several: many.
        attack: what attacks.
        needed: must be given.
    """


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert Parser(sample, groups={"first things": ["needed", "number"]}).parse(["--help"]) is None
    text = capsys.readouterr().out
    assert text.startswith("usage: toughen sample [OPTIONS]\n\nDo something.\n\nfirst things:\n  --needed FLOAT")
    for line in (
        "--needed FLOAT          must be given. (needed)",
        "--number INT            how many. [3]",
        "--text TEXT             any; default none.",
        "--switch                turn it on.",
        "--kept {true,false}     turn it off. [true]",
        "--choice {a,b}          one of two. [b]",
        "--several A,B           many. [x,y]",
        "--attack NAME           what attacks. [GradientAttack]",
    ):
        assert f"\n  {line}\n" in text


def test_help_of_a_class_has_its_description_and_settings(toughen: Toughen) -> None:
    text = toughen("train", "--method.help", "arr").out
    assert text.startswith("--method ARR\n\nARR: standard training plus a distance")
    assert options(text)[:5] == ["method.lam", "method.distance", "method.on", "method.q", "method.attack"]
    assert "  --method.distance {kl,l1,l2,lq}\n" in text
    assert "[3]" in re.search(r"--method\.attack\.steps.*?(?=  --)", text, re.DOTALL)[0]  # type: ignore[index]
    assert "TRADES" in text.partition("All names:")[2]
    assert "Args:" not in text
    assert ">>>" not in text


def test_help_of_the_class_that_is_chosen(toughen: Toughen) -> None:
    arr = toughen("train", "--method.help", "ARR")
    assert toughen("train", "--method", "ARR", "--method.help") == arr
    assert toughen("train", "--method.help", "--method", "ARR") == arr
    assert toughen("train", "--method.help").out.startswith("--method TRADES\n")
    fgsm = toughen("train", "--method", "ARR", "--method.attack.help", "FGSM").out
    assert fgsm.startswith("--method.attack FGSM\n")
    assert toughen("train", "--threat.help").out.startswith("--threat ThreatModel\n")
    assert toughen("evaluate", "--data.help", "parquet").out.startswith("--data Parquet\n")


def test_help_of_an_optimiser_has_its_settings_without_the_mathematics(toughen: Toughen) -> None:
    text = toughen("train", "--optimizer.help", "adam_w").out
    assert text.startswith("--optimizer AdamW\n\nImplements AdamW")
    assert {"--optimizer.lr", "--optimizer.betas", "--optimizer.weight_decay"} <= set(text.split())
    assert "--optimizer.params" not in text
    assert "\\theta" not in text


def test_help_where_no_class_is_chosen_names_them(toughen: Toughen) -> None:
    text = toughen("train", "--average.help").out
    for name, entry in classes("averages").items():
        assert f"  {name} " in text
        assert " ".join(entry.summary.split()) in " ".join(text.split())


def named() -> list[tuple[str, str]]:
    flags = {"methods": "method", "models": "model", "data": "data", "schedules": "schedule", "averages": "average"}
    return [(flag, name) for kind, flag in flags.items() for name in classes(kind)]


@pytest.mark.parametrize(("flag", "name"), named())
def test_every_class_explains_every_setting(toughen: Toughen, flag: str, name: str) -> None:
    answer = toughen("train", f"--{flag}.help", name)
    assert answer.status == 0
    kinds = {"method": "methods", "model": "models", "data": "data", "schedule": "schedules", "average": "averages"}
    called = import_path(classes(kinds[flag])[name].path)
    for setting, parameter in inspect.signature(called).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        line = re.search(rf"^  --{flag}\.{setting}\b.*\n?(.*)", answer.out, re.MULTILINE)
        assert line or f"--{flag}.{setting}." in answer.out, setting
        if line:
            assert re.search(r"  \w", line[0].partition(setting)[2]), f"{setting} has no line in the docstring"
    settings = answer.out.partition("settings:")[2]
    assert all(len(line) <= 80 for line in settings.splitlines())
