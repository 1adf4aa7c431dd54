"""A folder and two processes, real ones."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from toughen.errors import RunError
from toughen.run.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from toughen.run.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the lock on a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_told_of_the_first(tmp_path: Path, holder: subprocess.Popen) -> None:
    who = f"run is in use: process {holder.pid} on .* since {time.strftime('%Y-%m-%d')}"
    with pytest.raises(RunError, match=who), Lock(tmp_path / "run"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / ".lock").exists()
    with Lock(tmp_path / "run"):
        assert str(holder.pid) not in (tmp_path / "run" / ".lock").read_text()
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path: Path) -> None:
    with Lock(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()
    assert list(tmp_path.iterdir()) == []
    with Lock(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "config.yaml").write_text("")
    assert [file.name for file in (tmp_path / "runs" / "a").iterdir()] == ["config.yaml"]


def test_a_folder_that_took_the_place_of_the_locked_one_is_locked_too(tmp_path: Path) -> None:
    with Lock(tmp_path / "run") as lock:
        (tmp_path / "run").rename(tmp_path / "earlier")
        (tmp_path / "run").mkdir()
        lock.renew()
        again = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
        assert "InUse" in subprocess.run(again, capture_output=True, text=True).stderr
    assert not (tmp_path / "run").exists()


def test_what_a_lock_without_locks_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write .*file"), Lock(tmp_path / "file"):
        pass
