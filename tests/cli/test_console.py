"""What names hold is shown on the terminal, and neither obeyed by it nor read as markup."""

import ast
import os
import warnings
from pathlib import Path

import pytest
from rich.console import Console
from run_files import write_evaluation

import toughen
from toughen.cli import main
from toughen.cli.terminal import Terminal
from toughen.errors import ToughenWarning
from toughen.reports.progress import EvaluationProgress
from toughen.reports.terminal import show_result
from toughen.run import RunFolder

HOSTILE = "x[/b][red]\x1b[2J\x1b]0;title\x07\r\u202e:smile:\x9b31m"
OBEYED = "\x1b\x07\r\u202e\x9b"


def test_a_name_is_written_out_in_tables_bars_and_lines(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_evaluation(run, n=20, seed=0, strength=1.0)
    result = run.read_result()
    result["data"]["name"] = result["data"]["split"] = HOSTILE
    result["warnings"] = [HOSTILE]
    result["figures"][HOSTILE] = result["figures"].pop("fgsm")
    with Path(os.devnull).open("w") as nowhere:
        plain = Console(file=nowhere, width=200, record=True)
        show_result(result, plain)
        terminal = Terminal(file=nowhere, width=200, record=True)
        show_result(result, terminal)
        terminal.print(f"report: {HOSTILE}")
        with EvaluationProgress(terminal) as progress:
            progress.bar.update(progress.task, description=HOSTILE)
            terminal.print(progress.bar)
    assert any(each in plain.export_text() for each in OBEYED)  # what the terminal of ours keeps away
    said = terminal.export_text()
    assert not set(OBEYED) & set(said)
    assert said.count(r"x[/b][red]\x1b[2J\x1b]0;title") == 6  # the heading has two


@pytest.mark.parametrize("arguments", [["evaluate", HOSTILE], ["train", "--data", HOSTILE], [HOSTILE]])
def test_an_error_shows_what_came(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert not set(OBEYED) & set(said)
    assert r"\x1b[2J" in said and "[/b]" in said


def test_a_warning_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def run(arguments: list[str]) -> int:
        said.append(warnings.formatwarning(HOSTILE, ToughenWarning, "a.py", 1, None))
        return 0

    monkeypatch.setattr("toughen.cli.list.run", run)
    main(["list"])
    assert not set(OBEYED) & set(said[0]) and r"\x1b[2J" in said[0]


def test_a_run_whose_name_looks_like_markup_ends_with_its_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"method": "Standard", "model.width": 2, "epochs": 1, "train_images": 300, "budget": "none", "trackers": []}
    options = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    assert main(["train", "--out", "x[/b]\x1b[2J", *options]) == 0
    said = capsys.readouterr().out
    assert r"run:    x[/b]\x1b[2J" in said and "\x1b" not in said
    assert (tmp_path / "x[/b]\x1b[2J" / "model.safetensors").is_file()


def test_nothing_but_the_console_prints() -> None:
    source = Path(toughen.__file__).parent
    for path in source.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        printing = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert len(printing) == (path == source / "cli" / "console.py"), path
