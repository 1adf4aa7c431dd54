"""A disk that is full and a folder that is gone for a while, under a real training: nothing is lost with them."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kept import content, differing

from toughen.run import RunFolder

TRAIN = [
    *("train", "--method", "Standard", "--epochs", "40", "--batch_size", "32", "--train_images", "128"),
    *("--val_images", "20", "--model", "SmallCNN", "--model.width", "4", "--device", "cpu", "--trackers", "[]"),
    *("--workers", "0", "--budget", "none", "--out"),
]
Shortage = Callable[["subprocess.Popen[str]"], AbstractContextManager[None]]
LIMIT = 4096
"""Bytes of a file that the disk takes while it is full; a configuration fits, a checkpoint does not."""


@contextmanager
def training(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "toughen", *TRAIN, str(folder)]
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def said(process: "subprocess.Popen[str]", words: str) -> None:
    """Wait until the process says this."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it never said {words!r}")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the same training leaves where nothing happens."""
    run = tmp_path_factory.mktemp("disks") / "run"
    with training(run) as process:
        assert process.wait(600) == 0
    return content(run)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Inside, a file system of its own takes no more."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def limited(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Inside, a process writes small files alone."""
    usual = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    yield
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, usual)


def outlives(run: Path, shortage: Shortage, reason: str, expected: dict[str, Any]) -> None:
    """A training says why it cannot write while there is a shortage, goes on, and ends as where there was none."""
    with training(run) as process:
        wait_for(run / "model.safetensors")
        with shortage(process):
            said(process, f"{reason}; free space or choose another --out. The training goes on")
        assert process.wait(600) == 0
    assert differing(expected, content(run)) == []


@pytest.mark.nightly
def test_a_file_system_that_is_full_for_a_while(tmp_path: Path, expected: dict[str, Any]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here; the next test limits files")
    try:
        outlives(disk / "run", lambda process: filled(disk), "No space left on device", expected)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.nightly
def test_files_that_may_not_grow_for_a_while(tmp_path: Path, expected: dict[str, Any]) -> None:
    outlives(tmp_path / "run", limited, "File too large", expected)


@pytest.mark.nightly
def test_a_folder_that_is_gone_for_a_while(tmp_path: Path, expected: dict[str, Any]) -> None:
    run = tmp_path / "run"
    with training(run) as process:
        wait_for(run / "model.safetensors")
        run.rename(tmp_path / "elsewhere")
        said(process, f"the run's folder {run} has vanished; put it back. The training goes on")
        shutil.rmtree(run, ignore_errors=True)  # where a write was under way
        (tmp_path / "elsewhere").rename(run)
        assert process.wait(600) == 0
    RunFolder(run).clean_up()  # as the next command on the folder does
    assert differing(expected, content(run)) == []


@pytest.mark.nightly
def test_a_folder_that_stays_away_ends_the_run_in_one_sentence(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training(run) as process:
        wait_for(run / "model.safetensors")
        run.rename(tmp_path / "elsewhere")
        said(process, "has vanished; put it back. The training goes on")
        process.terminate()
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
        assert process.wait(60) == 2
    assert last == f"toughen: the run's folder {run} has vanished; put it back"
