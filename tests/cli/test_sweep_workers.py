"""Workers on the command line, as a cluster starts them: four on one sweep of twelve trials, one of them killed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly

SWEEP = """
data: digits
model: {class_path: small_cnn, init_args: {width: 4}}
epochs: 4
train_images: 400
workers: 0
trackers: []
budget: quick
test_images: 50
vary:
  method.beta: [1, 3, 6]
  optimizer.lr: {low: 0.02, high: 0.4, log: true}
trials: 12
"""


def start(folder: Path, number: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "toughen", "sweep", "sweep.yaml", "--out", "sweep"]
    with (folder / f"worker{number}.log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)


def lines(folder: Path, pattern: str) -> list[str]:
    return [found for log in sorted(folder.glob("*.log")) for found in re.findall(pattern, log.read_text())]


@pytest.mark.parametrize("kill", [False, True])
def test_four_workers_run_twelve_trials_once_each(tmp_path: Path, kill: bool) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    workers = [start(tmp_path, number) for number in range(4)]
    if kill:
        while "epoch   2/4" not in (tmp_path / "worker1.log").read_text():
            time.sleep(0.05)
            assert workers[1].poll() is None
        workers[1].kill()
    codes = [worker.wait(timeout=900) for worker in workers]
    assert codes == [0, -9 if kill else 0, 0, 0]
    begun = lines(tmp_path, r"trial (\d+) of 12")
    ended = lines(tmp_path, r"(?m)^trial (\d+) (?:complete|pruned)")
    assert sorted(map(int, ended)) == list(range(12))
    twice = [each for each in set(begun) if begun.count(each) == 2]
    assert len(begun) == 12 + len(twice) and len(twice) == int(kill)
    if kill:  # the trial of the killed one went on where it was, with the same values
        log = next(
            path
            for path in tmp_path.glob("*.log")
            if f"trial {twice[0]} complete" in path.read_text() or f"trial {twice[0]} pruned" in path.read_text()
        )
        taken_up = log.read_text().partition(f"trial {twice[0]} of 12")[2].partition("\ntrial ")[0]
        assert "epoch   1/4" not in taken_up
        assert len(set(lines(tmp_path, rf"trial {twice[0]} of 12: (.*)"))) == 1
    runs = sorted((tmp_path / "sweep" / "trials").iterdir())
    states = [json.loads((run / "trial.json").read_text())["state"] for run in runs]
    assert len(runs) == 12 and set(states) <= {"complete", "pruned"}
    assert len(list((tmp_path / "sweep").glob("trials/*/result.json"))) == 1
    assert "12 of 12 trials" in (tmp_path / "sweep" / "report.html").read_text()
