"""The fields of a dataclass that a function takes as `settings` are options like the function's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.cli.parser import Parser
from toughen.errors import InputError
from toughen.settings.description import describe
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Settings:
    """How it is done.

    Attributes:
        budget: which attacks, such as quick.
        images: how many.
        threat: what the attacker may do.
        names: of the attacks.
        quick: whether to hurry.
        attacks: by name.
        pair: of numbers.
    """

    budget: Literal["quick", "standard"] = "standard"
    images: int | None = None
    threat: ThreatModel | None = None
    names: list[str] = field(default_factory=lambda: ["fgsm"])
    quick: bool = False
    attacks: Sequence[GradientAttack] = ()
    pair: tuple[int, float] = (1, 0.5)

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise InputError(f"images: expected at least 1, got {self.images}")


def act(run: str | None = None, *, settings: Settings = Settings(images=7), out: str = "here") -> None:
    """Act.

    Args:
        run: folder.
        settings: how.
        out: where to.
    """


def act_with_none(settings: Settings, other: Callable[..., Any] | None = None) -> None:
    """Act, without a default."""


def asked(*words: str, function: Callable[..., Any] = act) -> Any:
    request = Parser(function, "run" if function is act else "").parse(words)
    assert request is not None
    return request


def test_options_without_a_prefix_in_any_order() -> None:
    request = asked("--threat.eps", "4/255", "a", "--budget", "QUICK", "--names", "x,y", "--quick", "--out", "b")
    settings = Settings("quick", 7, ThreatModel(eps="4/255"), ["x", "y"], True)
    assert request.settings == {"run": "a", "settings": settings, "out": "b"}
    assert request.asked == {"threat", "run", "budget", "names", "quick", "out"}


def test_a_sequence_of_classes_and_one_of_numbers() -> None:
    words = ("--attacks", "pgd,FGSM", "--attacks.pgd.steps", "3", "--pair", "2,0.25")
    settings = asked(*words).settings["settings"]
    assert describe(settings.attacks) == [describe(PGD(steps=3)), describe(FGSM())]
    assert settings.pair == (2, 0.25)


def test_a_run_or_a_network_is_text_on_the_command_line() -> None:
    def both(run: str | Path | nn.Module | None = None, *, settings: Settings = Settings(), **changes: Any) -> None:
        """Act."""

    for name in ("runs/a", "2024", "/x/y"):
        assert Parser(both, "run").parse([name]).settings == {"run": name, "settings": Settings()}  # type: ignore[union-attr]


def test_the_functions_own_default_counts_before_the_dataclass() -> None:
    assert asked().settings == {"run": None, "settings": Settings(images=7), "out": "here"}
    assert asked(function=act_with_none).settings["settings"] == Settings()


def test_files_and_the_printed_configuration_have_no_level_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("{budget: quick, images: 3, threat: {norm: l2}}")
    assert asked("--config", str(file)).settings["settings"] == Settings("quick", 3, ThreatModel("l2"))
    assert Parser(act, "run").parse(["--config", str(file), "--images", "4", "--print_config"]) is None
    printed = capsys.readouterr().out
    assert "\nbudget: quick\nimages: 4\nthreat:\n  norm: l2\n" in printed
    file.write_text(printed)
    assert asked("--config", str(file)).settings["settings"] == Settings("quick", 4, ThreatModel("l2"))


def test_help_has_the_lines_of_both_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    Parser(act, "run", groups={"the work": ["images", "budget"]}).parse(["--help"])
    text = capsys.readouterr().out
    assert "the work:\n  --images INT            how many. [7]\n  --budget {quick,standard}\n" in text
    assert "  --names A,B             of the attacks. [fgsm]\n" in text
    assert "  --quick                 whether to hurry.\n" in text
    assert "  --out TEXT              where to. [here]\n" in text
    assert "settings" not in text.partition("configuration:")[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--budget slow", "--budget: expected one of quick, standard, got 'slow'"),
        ("--imags 3", "unknown option --imags; did you mean --images?"),
        ("--eps 3", "unknown option --eps; did you mean --threat.eps?"),
        ("--settings.images 3", "unknown option --settings.images; `toughen act --help` lists them all"),
        ("--images 0", "images: expected at least 1, got 0"),
        (
            "--names.x 3",
            "--names.x: --names has no settings within, it takes a value: a list such as [a, b], each text",
        ),
    ],
)
def test_messages(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        asked(*line.split())
    assert str(caught.value) == message
