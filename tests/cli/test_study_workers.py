"""Two workers on one study, as two terminals start them, and a third one in the place of one that is killed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.nightly

STUDY = """
data:
  digits: {data: digits, threat: {eps: 0.03}}
rows:
  Standard: {method: Standard}
  FGSM-RS: {method: FGSMRS, choose: {optimizer.lr: [0.05, 0.1]}}
  TRADES: {method: TRADES, choose: {method.beta: [1, 6]}}
seeds: [0, 1]
budget: quick
confirm: {budget: fast, best: 1}
model: {class_path: small_cnn, init_args: {width: 4}}
epochs: 4
train_images: 400
test_images: 50
workers: 0
trackers: []
"""


def start(folder: Path, number: int) -> subprocess.Popen:
    with (folder / f"worker{number}.log").open("w") as log:
        command = [sys.executable, "-m", "toughen", "study", "study.yaml", "--out", "study"]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)


def kill_one(folder: Path, workers: list[subprocess.Popen]) -> int:
    """Kill the worker that comes to the second epoch of a run of TRADES first."""
    begun = re.compile(r"^TRADES on digits, seed \d\n(?:(?!TRADES on digits).*\n)*?.*epoch   2/4", re.MULTILINE)
    while True:
        for number, worker in enumerate(workers):
            assert worker.poll() is None
            if begun.search((folder / f"worker{number}.log").read_text()):
                worker.kill()
                worker.wait()
                return number
        time.sleep(0.02)


@pytest.mark.parametrize("kill", [False, True])
def test_two_workers_do_each_task_once(tmp_path: Path, kill: bool) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    workers = [start(tmp_path, number) for number in range(2)]
    killed = kill_one(tmp_path, workers) if kill else None
    if kill:
        workers.append(start(tmp_path, 2))
    codes = [worker.wait(timeout=900) for worker in workers]
    assert codes == [-9 if number == killed else 0 for number in range(len(workers))]
    log = "".join(file.read_text() for file in sorted(tmp_path.glob("*.log")))
    ended = re.findall(r"(?m)^(.*(?:on digits|seed \d)): (?:\d|optimizer|method)", log)
    tasks = [f"{row} on digits, seed {seed}" for row in ("Standard", "FGSM-RS", "TRADES") for seed in (0, 1)]
    results = json.loads((tmp_path / "study" / "results.json").read_text())["data"]["digits"]
    first, second = results["levels"]
    confirmed = [f"confirming {row} on digits, seed {seed}" for row in second["rows"] for seed in (0, 1)]
    searched = ["settings of FGSM-RS on digits", "settings of TRADES on digits"]
    assert sorted(ended) == sorted([*tasks, *confirmed, *searched])
    assert list(second["rows"]) == [max(first["rows"], key=lambda row: first["rows"][row]["robust"]["mean"])]
    for row, of in first["rows"].items():
        files = [tmp_path / "study" / run["folder"] / "verdicts.parquet" for run in of["runs"]]
        assert [run["robust"]["n"] for run in of["runs"]] == [len(pq.read_table(file)) for file in files] == [50, 50], (
            row
        )
    if kill:
        runs = re.findall(r"(?m)^(TRADES on digits, seed \d)$", log)
        (taken_up,) = [name for name in set(runs) if runs.count(name) == 2]
        after = "".join((tmp_path / f"worker{number}.log").read_text() for number in range(3) if number != killed)
        part = after.partition(f"{taken_up}\n")[2].partition(f"{taken_up}:")[0]
        assert "epoch   4/4" in part and "epoch   1/4" not in part  # from its checkpoint
