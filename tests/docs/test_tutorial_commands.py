"""The commands of the tutorials on sweeps and seeds are understood as they stand, and run when they are cut short."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from toughen.cli import main
from toughen.cli.sweep import parser as sweep_parser
from toughen.cli.train import parser as train_parser

NAMES = ("sweep-on-several-machines", "compare-methods-over-seeds")
TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
SWEEP, SEEDS = ((TUTORIALS / f"{name}.md").read_text() for name in NAMES)
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHORT = ["--train_images", "200", "--test_images", "10", "--workers", "0"]


def commands(page: str) -> list[list[str]]:
    blocks = [block.replace("\\\n", "") for block in BLOCK.findall(page)]
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("toughen ")]


def code(page: str, kind: str) -> str:
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(block)


def test_the_commands_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(code(SWEEP, "yaml"))
    (command,) = commands(SWEEP)
    request = sweep_parser().parse(command[1:])
    assert request is not None
    assert request.settings["vary"] == yaml.safe_load(code(SWEEP, "yaml"))["vary"]
    assert [each[0] for each in commands(SEEDS)] == ["train", "train", "train", "compare"]
    for each in commands(SEEDS)[:-1]:
        found = train_parser().parse(each[1:])
        assert found is not None and found.settings["seeds"] == [0, 1, 2]


@pytest.mark.nightly
def test_the_tutorial_on_sweeps_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(code(SWEEP, "yaml"))
    (command,) = commands(SWEEP)
    assert main([*command, *SHORT, "--trials", "4", "--epochs", "1"]) == 0
    assert len(list(Path("sweep/trials").glob("*/trial.json"))) == 4
    assert "Clean against robust" in Path("sweep/report.html").read_text()
    exec(code(SWEEP, "python"), {})
    assert Path("sweep-in-python/report.html").exists()


@pytest.mark.nightly
def test_the_tutorial_on_seeds_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    *trainings, comparison = commands(SEEDS)
    for each in trainings:
        each[each.index("--epochs") + 1] = "1"
        assert main([*each, *SHORT]) == 0
    assert main(comparison) == 0
    page = Path(comparison[-1]).read_text()
    assert "3 seeds" in page and page.count("<tr>") > 9
    exec(code(SEEDS, "python"), {})
