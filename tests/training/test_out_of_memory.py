"""A step that does not fit into memory, in a process of which the system limits the memory."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from limited import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and a limit of the address space")

TRAINER = """
from toughen.training.loop import Trainer

fit = Trainer.fit
"""
TRAIN = """
from toughen.cli import main

def limited(trainer):
    limit(40_000_000)
    fit(trainer)

Trainer.fit = limited
words = ["--device", "cpu", "--fast", "false", "--method", "Standard", "--model.width", "64", "--batch_size", "1024"]
raise SystemExit(main(["train", *words, "--workers", "0", "--trackers=", "--budget", "none", "--out", sys.argv[1]]))
"""
AGAIN = """
import json, warnings
from contextlib import nullcontext
from functools import partial
from toughen import train
from toughen.attacks import PGD
from toughen.methods import PGDAT, Standard
from toughen.models import WideResNet
from toughen.training import EMA, setup

setup.memory_kept = nullcontext  # which would lend the second run the memory of the first

def limited(trainer):
    limit(more)
    try:
        fit(trainer)
    finally:
        limit(0)

Trainer.fit = limited
given = dict(
    model=partial(WideResNet, depth=28, width=1),
    method=Standard() if sys.argv[2] == "Standard" else PGDAT(PGD(steps=1)),
    batch_size=640, train_images=704, val_images=40, epochs=1, budget="none", trackers=[], device="cpu", average=EMA(),
    log_every=1, workers=0,
)
states = []
for name, more in (("free", 0), ("limited", int(sys.argv[3]))):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained = train(**given, out=f"{sys.argv[1]}/{name}")
    states.append(trained.model.state_dict())
events = json.loads(trained.folder.events.read_text())
far = max(float((states[0][name].float() - states[1][name].float()).abs().max()) for name in states[0])
told = sum("out of memory" in str(each.message) for each in said)
print(json.dumps({"events": events, "far": far, "told": told}))
"""


@pytest.mark.nightly  # what is tried before: the next test
def test_a_step_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    ended = run(TRAINER + TRAIN, str(tmp_path / "a"))
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "--batch_size 512 --accumulate 2" in " ".join(ended.stderr.split())


def taken_again(tmp_path: Path, method: str, more: float) -> dict[str, Any]:
    """What became of a run that has so many bytes beyond those before its first step."""
    ended = run(TRAINER + AGAIN, str(tmp_path), method, str(int(more)))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", ["Standard", pytest.param("PGDAT", marks=pytest.mark.nightly)])
def test_a_step_that_does_not_fit_is_taken_again_in_less_memory(method: str, tmp_path: Path) -> None:
    found = taken_again(tmp_path, method, 65e6)
    (event,) = found["events"]
    assert (event["guard"], event["step"], event["rolled_back"], found["told"]) == ("memory", 0, True, 1)
    # The network itself computes the same twice; the attack's replica is asked in parts, which rounds otherwise.
    assert found["far"] == 0 if method == "Standard" else found["far"] < 1e-3
