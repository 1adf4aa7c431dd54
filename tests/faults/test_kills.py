"""Runs that are killed at an event of the file system or at any time, and the same command, which goes on from there.

It ends with the same files, bit by bit but for times, also where two processes share the run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toughen import catalog

SMALL = [
    *("--batch_size", "32", "--train_images", "128", "--val_images", "20"),
    *("--model", "SmallCNN", "--model.width", "4", "--device", "cpu", "--trackers", "[]", "--workers", "0"),
]
SHORT = ["--epochs", "2", "--checkpoint_every", "3"]
QUICK = ["--budget", "quick", "--test_images", "8"]
PGD = ["--method", "PGDAT", "--method.attack.steps", "2"]
METHODS = {
    **{name: ["--method", name] for name in sorted(catalog.classes("methods"))},
    "HAT": ["--method", "HAT", "--method.standard", "HELPER"],
    "LTD": ["--method", "LTD", "--method.standard", "HELPER"],
    "LBGAT": ["--method", "LBGAT", "--method.guide.weights", "HELPER"],
}
"""HELPER stands for the folder of another run, EXTRA for a file of more images."""
OPTIONS = {
    "EMA": [*PGD, "--average", "EMA"],
    "SWA": [*PGD, "--average", "SWA", "--average.start", "1"],
    "SuccessEMA": ["--method", "FGSMPGK", "--average", "SuccessEMA"],
    "AWP": [*PGD, "--awp.gamma", "0.005", "--awp.start", "1"],
    "CutMix": [*PGD, "--cutmix", "CutMix"],
    "accumulate": [*PGD, "--accumulate", "2"],
    "select last": [*PGD, "--select", "last"],
    "AdamW": [*PGD, "--optimizer", "AdamW"],
    "growing": [*PGD, "--attack_steps.first", "1", "--image_size.first", "0.5"],
    "init": [*PGD, "--init", "HELPER/model.safetensors"],
    "extra": [*PGD, "--extra.path", "EXTRA", "--extra.pseudo_labeller", "HELPER"],
    "no guards": [*PGD, "--guards", "null"],
}
COLLAPSE = """
from toughen.training.guards.watch import Watch

def check_attack(self, model, place):
    if place == 5 and self.updates.cure.level == 0:
        self._raise("collapse", "catastrophic overfitting, for this test")

Watch.check_attack = check_attack
"""
MEMORY = """
import torch
from toughen.training.updates import Updates

take = Updates.take

def limited(self, batch, epoch, place, *given):
    if (epoch, place) == (1, 0) and not self.thrift.chosen:
        raise torch.OutOfMemoryError("for this test")
    return take(self, batch, epoch, place, *given)

Updates.take = limited
"""
ROLLBACKS = {
    "finite": (["--method", "Standard", "--optimizer.lr", "1e30", "--guards.lr_factor", "1e-31"], ""),
    "collapse": (["--method", "FGSMRS"], COLLAPSE),
    "memory": (PGD, MEMORY),
}
Found = list[dict[str, Any]]
Killed = Callable[..., Found]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Another run, and a file of more images."""
    folder = tmp_path_factory.mktemp("places")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "extra.npz", image=images)
    line = [*SMALL, "--method", "Standard", "--epochs", "1", "--budget", "none", "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "toughen", "train", *line], check=True, capture_output=True, timeout=300)
    return {"HELPER": str(folder / "run"), "EXTRA": str(folder / "extra.npz")}


@pytest.fixture(scope="module")
def server() -> Iterator["subprocess.Popen[str]"]:
    """What starts the runs: see killed.py."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONHASHSEED": "0"}
    script = str(Path(__file__).with_name("killed.py"))
    with subprocess.Popen([sys.executable, script], env=environment, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def killed(server: "subprocess.Popen[str]", tmp_path: Path, request: pytest.FixtureRequest) -> Killed:
    """What came of each of so many kills of the runs of a command line."""

    def give(how: str, kills: int, line: list[str], **more: Any) -> Found:
        words = [*SMALL, *line]
        if any(word.startswith(("HELPER", "EXTRA")) for word in words):
            for name, path in request.getfixturevalue("places").items():
                words = [word.replace(name, path) for word in words]
        job = {"folder": str(tmp_path), "line": words, "how": how, "kills": kills, **more}
        assert server.stdin is not None and server.stdout is not None
        print(json.dumps(job), file=server.stdin, flush=True)
        answer = json.loads(server.stdout.readline())
        assert isinstance(answer, list), answer["error"]
        return answer

    return give


def check(found: Found, kills: int) -> None:
    """All went on to the same result, without left-overs."""
    assert len(found) == kills
    assert [each for each in found if any(each["status"]) or each["differing"] or each["left"]] == []
    hit = sum(-9 in each["hit"] for each in found if each["after"] is None)
    assert hit == sum(each["after"] is None for each in found)


def test_killed_in_the_middle(killed: Killed) -> None:
    check(killed("events", 1, [*SHORT, *QUICK, "--method", "Standard"]), 1)


@pytest.mark.nightly
@pytest.mark.parametrize(("how", "kills"), [("events", 40), ("times", 20)])
def test_killed_in_a_run_with_its_evaluation(killed: Killed, how: str, kills: int) -> None:
    check(killed(how, kills, [*SHORT, *QUICK, "--method", "Standard"]), kills)


@pytest.mark.nightly
@pytest.mark.parametrize("line", METHODS.values(), ids=METHODS)
def test_killed_with_every_method(killed: Killed, line: list[str]) -> None:
    check(killed("random", 3, [*SHORT, "--budget", "none", *line]), 3)


@pytest.mark.nightly
@pytest.mark.parametrize("line", OPTIONS.values(), ids=OPTIONS)
def test_killed_with_averages_and_options(killed: Killed, line: list[str]) -> None:
    check(killed("random", 3, [*SHORT, "--budget", "none", *line]), 3)


@pytest.mark.nightly
@pytest.mark.parametrize(("line", "script"), ROLLBACKS.values(), ids=ROLLBACKS)
def test_killed_around_a_rollback(
    killed: Killed, tmp_path: Path, request: pytest.FixtureRequest, line: list[str], script: str
) -> None:
    check(killed("events", 10, [*SHORT, "--budget", "none", *line], script=script), 10)
    events = json.loads((tmp_path / "first" / "whole" / "events.json").read_text())
    assert [(event["guard"], event["rolled_back"]) for event in events] == [(request.node.callspec.id, True)]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kills", "line"),
    [(12, [*PGD, "--budget", "none"]), (6, ["--method", "Standard", *QUICK])],
    ids=["training", "evaluation"],
)
def test_killed_where_two_processes_share_the_run(killed: Killed, kills: int, line: list[str]) -> None:
    """One of them, with the other ended as torchrun does it, or both."""
    check(killed("random", kills, [*SHORT, *line], processes=2), kills)


@pytest.mark.nightly
@pytest.mark.parametrize(("processes", "times"), [(1, 10), (2, 4)])
def test_asked_to_stop_and_queued_again(killed: Killed, processes: int, times: int) -> None:
    """As SLURM does it before the end of a job's time: SIGUSR1 to every process, then the same command."""
    found = killed("signals", times, [*SHORT, *QUICK, "--method", "Standard"], processes=processes)
    assert [each for each in found if any(each["status"]) or each["differing"] or each["left"]] == []
    assert all(each["hit"][0] in (0, 130) for each in found)  # the launcher asks the others to end once more
    assert sum(130 in each["hit"] for each in found) > times / 2  # the others were about to end


@pytest.mark.nightly
def test_preempted_two_hundred_times(killed: Killed) -> None:
    """As by a scheduler that takes the machine away again and again and repeats the same command."""
    long = ["--method", "Standard", "--checkpoint_every", "1", "--epochs", "60", "--budget", "none"]
    (found,) = killed("again", 200, long)
    assert found["kills"] == 200
    assert (found["status"], found["differing"], found["left"]) == ([0], [], [])
