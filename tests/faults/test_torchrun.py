"""Runs under torchrun whose processes are killed, and go on: by the same command, or unattended by --max-restarts.

They end with the same files as a run that nobody killed, bit by bit but for times.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from kept import content, differing, left_over

pytestmark = pytest.mark.nightly

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max-restarts"]
TRAIN = [
    *("-m", "toughen", "train", "--method", "PGDAT", "--method.attack.steps", "2", "--average", "EMA"),
    *("--epochs", "3", "--checkpoint_every", "2", "--batch_size", "32", "--train_images", "128", "--val_images", "20"),
    *("--model", "SmallCNN", "--model.width", "4", "--device", "cpu", "--trackers", "[]", "--workers", "0"),
    *("--budget", "quick", "--test_images", "8", "--resume", "auto", "--out"),
]
PATIENCE = 300


@dataclass
class Launched:
    """A launcher, and the processes of the run that it has started so far.

    Attributes:
        launcher: torchrun.
        out: the run's folder.
        started: all of them, also those that have ended.
    """

    launcher: "subprocess.Popen[str]"
    out: Path
    started: dict[int, psutil.Process] = field(default_factory=dict)

    def workers(self) -> list[psutil.Process]:
        """Those that live."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.launcher.pid).children()
            self.started |= {each.pid: each for each in children}
        return [each for each in self.started.values() if lives(each)]

    def at_work(self) -> list[psutil.Process]:
        """Wait for both processes of this start, the first of which holds the folder, or for the end; none then."""
        end = time.monotonic() + PATIENCE
        while self.launcher.poll() is None:
            assert time.monotonic() < end
            workers = self.workers()
            if len(workers) == 2 and holder(self.out) in [each.pid for each in workers]:
                return workers
            time.sleep(0.01)
        return []

    def strike(self, after: float, whom: int) -> bool:
        """Kill a process, or both (-1), so many seconds after they came to work; whether the run was still going on."""
        workers = self.at_work()
        with suppress(subprocess.TimeoutExpired):
            self.launcher.wait(after)
        struck = [each for each in (workers if whom < 0 else workers[whom : whom + 1]) if lives(each)]
        for each in struck:
            each.kill()
        return bool(struck)

    def ends(self) -> tuple[int, str]:
        """Its status and what it said, when no process of it is left."""
        said, _ = self.launcher.communicate(timeout=PATIENCE)
        assert [each for each in self.started.values() if lives(each)] == []
        return self.launcher.returncode, said


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def holder(folder: Path) -> int:
    """The process that says that it is at work in a folder."""
    with suppress(OSError, ValueError):
        return int(json.loads((folder / ".lock").read_text())["process"])
    return 0


@contextmanager
def launched(out: Path, restarts: int = 0) -> Iterator[Launched]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONHASHSEED": "0"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*TORCHRUN, str(restarts), *TRAIN, str(out)], env=environment, **pipes) as process:
        run = Launched(process, out)
        try:
            yield run
        finally:
            for each in run.workers():
                each.kill()
            process.kill()


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: its files, and the seconds from when it held its folder."""

    files: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("torchrun") / "whole"
    with launched(out) as run:
        assert run.at_work()
        began = time.monotonic()
        status, said = run.ends()
        assert status == 0, said
    return Whole(content(out), time.monotonic() - began)


@pytest.mark.parametrize("whom", [0, 1, -1], ids=["the first", "the second", "both"])
def test_the_same_command_goes_on_after_a_kill(whole: Whole, whom: int, tmp_path: Path) -> None:
    random, struck = Random(whom), 0
    for number in range(2):
        out = tmp_path / str(number) / "whole"
        with launched(out) as run:
            hit = run.strike(random.uniform(0, 0.8) * whole.seconds, whom)
            status, said = run.ends()
            assert (status != 0) is hit, said
            struck += hit
        with launched(out) as run:
            status, said = run.ends()
        assert status == 0, said
        assert (differing(whole.files, content(out)), left_over(out)) == ([], [])
    assert struck > 0


def test_restarts_by_the_launcher_go_on_unattended(whole: Whole, tmp_path: Path) -> None:
    random, out = Random(0), tmp_path / "whole"
    with launched(out, restarts=3) as run:
        struck = sum(run.strike(random.uniform(0, 0.2) * whole.seconds, whom) for whom in (0, 1, -1))
        status, said = run.ends()
    assert status == 0, said
    assert struck >= 2  # the last may come too late where the machine was busier before
    assert (differing(whole.files, content(out)), left_over(out)) == ([], [])


@pytest.mark.parametrize("moment", ["they start", "the first is at work"])
def test_processes_that_have_not_met_end_after_their_launcher(whole: Whole, moment: str, tmp_path: Path) -> None:
    """They find each other through it. The folder is free then, and the same command begins again."""
    out = tmp_path / "whole"
    with launched(out) as run:
        end = time.monotonic() + PATIENCE
        while len(workers := run.workers()) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        if moment == "the first is at work":
            workers = run.at_work()
        os.kill(run.launcher.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
        assert not alive
        _, said = run.ends()
    assert "Traceback" not in said and "start it again" in said
    assert not (out / "config.yaml").exists()
    with launched(out) as run:
        status, said = run.ends()
    assert status == 0, said
    assert (differing(whole.files, content(out)), left_over(out)) == ([], [])


def test_a_run_whose_launcher_is_killed_ends_by_itself(whole: Whole, tmp_path: Path) -> None:
    """Nothing hangs, where the processes have met already."""
    out = tmp_path / "whole"
    with launched(out) as run:
        workers, end = run.at_work(), time.monotonic() + PATIENCE
        while not (out / "checkpoints" / "last" / "state.json").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(run.launcher.pid, signal.SIGKILL)
        psutil.wait_procs(workers, timeout=PATIENCE)
        run.ends()
    assert (differing(whole.files, content(out)), left_over(out)) == ([], [])
