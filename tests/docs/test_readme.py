"""The Python of the README runs as it stands, but for a training that is cut to seconds; its figures are of runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import toughen
from toughen.methods import TRADES
from toughen.models import SmallCNN
from toughen.reports.text import attack_title, bounds, percent

pytestmark = pytest.mark.usefixtures("short_autoattack")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SHORT = {"epochs=30": 'epochs=1, test_images=20, budget="quick"'}
DOORS = dict(re.findall(r"\*\*([^*\n]+)\*\*[^`]*```python\n(.*?)```", README, re.DOTALL))


@pytest.fixture
def at_hand() -> dict[str, Any]:
    """What a reader of the README has: a network, images with labels, a loader, an optimiser."""
    model = SmallCNN(10, 1, width=8)
    images, labels = toughen.data.Digits().load("test").subset(torch.arange(32))
    return {
        "toughen": toughen,
        "TRADES": TRADES,
        "model": model,
        "other": SmallCNN(10, 1, width=4),
        "images": images,
        "labels": labels,
        "loader": [(images, labels)],
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
    }


def figures_of(run: str) -> dict[str, Any]:
    """What a run of docs/results.md was found to withstand, by attack."""
    record = json.loads((ROOT / "benchmarks" / "results" / f"record-{run}.json").read_text())
    (found,) = record["evaluations"].values()
    return {**found["figures"], "all together": found["robust_accuracy"]}


def test_the_figures_are_those_of_the_runs_on_the_page_of_results() -> None:
    rows = re.findall(r"^ (\S.*?) {2,}(\S+ %) +(\S+ to \S+) +(\d+/\d+)$", README, re.MULTILINE)
    found = figures_of("default")
    assert rows == [
        (attack_title(attack), percent(each["accuracy"]), bounds(each["interval"]), f"{each['held']}/{each['n']}")
        for attack, each in found.items()
    ]
    robust, without = found["all together"], figures_of("default-standard")["all together"]
    low, high = (f"{100 * bound:.1f}" for bound in robust["interval"])
    assert f"# {percent(robust['accuracy'])} [{low}, {high}]" in README
    assert f"keeps [{percent(without['accuracy'])}](docs/results.md#the-default-run)" in README


def test_every_python_block_is_a_door() -> None:
    assert len(DOORS) == README.count("```python")


@pytest.mark.parametrize("door", DOORS)
def test_a_door_opens(door: str, at_hand: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = f"{DOORS['Train']}\n{DOORS[door]}" if "toughen.load(" in DOORS[door] else DOORS[door]
    for written, run in SHORT.items():
        code = code.replace(written, run)
    exec(code, at_hand)
