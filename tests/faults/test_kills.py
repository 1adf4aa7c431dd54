"""Runs that are killed at an event of the file system, and the same command, which goes on to the same result."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toughen import catalog

SMALL = [
    *("--batch_size", "32", "--train_images", "128", "--val_images", "20"),
    *("--model", "SmallCNN", "--model.width", "4", "--device", "cpu", "--trackers", "[]", "--workers", "0"),
]
SHORT = ["--epochs", "2", "--checkpoint_every", "3"]
QUICK = [*SHORT, "--budget", "quick", "--test_images", "8"]
NONE = [*SHORT, "--budget", "none"]
METHODS = sorted(set(catalog.classes("methods")) - {"HAT", "LBGAT"})  # which need another run's network
OPTIONS = {
    "EMA": ["--average", "EMA"],
    "SWA": ["--average", "SWA", "--average.start", "1"],
    "AWP": ["--awp.gamma", "0.005"],
    "CutMix": ["--cutmix", "CutMix"],
    "accumulate": ["--accumulate", "2"],
    "select last": ["--select", "last"],
    "AdamW": ["--optimizer", "AdamW"],
    "seed": ["--seed", "3"],
}


def killed(how: str, folder: Path, kills: int, *line: str) -> list[dict[str, Any]]:
    """What came of each kill."""
    script = str(Path(__file__).with_name("killed.py"))
    done = subprocess.run(
        [sys.executable, script, how, str(folder), str(kills), *SMALL, *line],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict[str, Any]]) -> None:
    """All went on to the same result, without left-overs."""
    assert all(each["killed"] == -9 for each in found)
    assert [each for each in found if each["status"] or each["differing"] or each["left"]] == []


def test_killed_in_the_middle(tmp_path: Path) -> None:
    found = killed("evenly", tmp_path, 1, "--method", "Standard", *QUICK)
    assert len(found) == 1
    check(found)


@pytest.mark.nightly
def test_killed_at_many_events_of_a_run_with_its_evaluation(tmp_path: Path) -> None:
    found = killed("evenly", tmp_path, 40, "--method", "Standard", *QUICK)
    assert len(found) == 40
    check(found)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "method", sorted(entry for entry in catalog.classes("methods") if entry not in ("HAT", "LBGAT"))
)
def test_killed_with_every_method(tmp_path: Path, method: str) -> None:
    check(killed("evenly", tmp_path, 5, "--method", method, *NONE))


@pytest.mark.nightly
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_killed_with_averages_and_options(tmp_path: Path, options: list[str]) -> None:
    check(killed("evenly", tmp_path, 5, "--method", "PGDAT", *options, *NONE))


@pytest.mark.nightly
def test_preempted_two_hundred_times(tmp_path: Path) -> None:
    """As by a scheduler that takes the machine away again and again and repeats the same command."""
    long = ["--method", "Standard", "--checkpoint_every", "1", "--epochs", "60", "--budget", "none"]
    (found,) = killed("again", tmp_path, 200, *long)
    assert found["kills"] == 200
    assert (found["status"], found["differing"], found["left"]) == (0, [], [])
