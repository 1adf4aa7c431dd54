"""Real processes that are asked to stop, and whose readers and helpers go away."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from toughen.cli import main
from toughen.data.loader import killed_worker
from toughen.signals import stop_requests

TRAIN = [
    *("train", "--epochs", "2", "--batch_size", "16", "--method.attack.steps", "2", "--checkpoint_every", "7"),
    *("--train_images", "480", "--device", "cpu", "--trackers", "[]", "--out", "run"),
]
ALONE = [*TRAIN, "--budget", "none"]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `toughen ARGUMENTS` in the test's folder; by default with its output piped."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, shell: str = "", **more: object) -> "subprocess.Popen[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        command = [sys.executable, "-m", "toughen", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield begin
    for each in started:
        if each.poll() is None:
            each.kill()
        each.communicate()


def wait_for(path: Path, started: "subprocess.Popen[str]", seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def left_overs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGUSR1,
        *(pytest.param(each, marks=pytest.mark.nightly) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = start(*ALONE)
    wait_for(tmp_path / "run/checkpoints/last/state.json", asked)
    asked.send_signal(number)
    out, err = asked.communicate(timeout=120)
    assert asked.returncode == 130, err
    assert "Traceback" not in out + err
    command = err.rstrip("\n").partition("go on with: ")[2]
    assert command == "toughen train --resume run"
    assert len(epochs(tmp_path / "run")) < 2
    monkeypatch.chdir(tmp_path)
    assert main(command.split()[1:]) == 0
    assert epochs(tmp_path / "run") == ["1", "2"]


def epochs(run: Path) -> list[str]:
    """The epochs that metrics.csv has."""
    file = run / "metrics.csv"
    return [line.partition(",")[0] for line in file.read_text().splitlines()[1:]] if file.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_each_of_the_signals_asks(number: signal.Signals) -> None:
    def other(number: int, frame: FrameType | None) -> None:
        """Neither ends the process, nor is it ignored, as SIGHUP is under nohup."""

    usual = signal.signal(number, other)
    try:
        with stop_requests() as asked:
            assert not asked()
            signal.raise_signal(number)
            assert asked()
        assert signal.getsignal(number) == other
    finally:
        signal.signal(number, usual)


@pytest.mark.nightly  # in this process: tests/cli/test_runs.py
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_in_the_final_evaluation(start: Start, tmp_path: Path, number: int) -> None:
    asked = start(*_with(TRAIN, "--epochs", "1"), "--budget", "quick", "--test_images", "200")
    wait_for(tmp_path / "run/model.safetensors", asked)
    end = time.monotonic() + 120
    while not any((tmp_path / "run" / "verdicts").glob("*/*.parquet")):
        assert asked.poll() is None, asked.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    asked.send_signal(number)
    _, err = asked.communicate(timeout=120)
    assert (asked.returncode, err) == (130, "toughen: stopped; go on with: toughen train --resume run\n")
    assert start("train", "--resume", "run").wait(300) == 0
    assert (tmp_path / "run/report.html").exists()
    assert not left_overs(tmp_path / "run")


def _with(line: list[str], option: str, value: str) -> list[str]:
    place = line.index(option) + 1
    return [*line[:place], value, *line[place + 1 :]]


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from toughen.signals import stop_requests\n"
        "with stop_requests() as asked:\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None, "the first one only asks"
    process.send_signal(signal.SIGTERM)  # not SIGHUP, which is ignored under nohup
    assert process.wait(10) == 128 + signal.SIGTERM
    process.stdout.close()


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    script = (
        "import signal, os, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from toughen.signals import stop_requests\n"
        "with stop_requests() as asked:\n"
        "    os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.1); assert not asked()\n"
        "    os.kill(os.getpid(), signal.SIGUSR1); time.sleep(0.1); assert asked()\n"
        "assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    "reader",
    [
        "| head -1",
        *(pytest.param(each, marks=pytest.mark.nightly) for each in ("> /dev/full", ">&-", "2>&- | head -1")),
    ],
)
def test_a_training_ends_whoever_reads_its_output(tmp_path: Path, reader: str) -> None:
    line = " ".join([sys.executable, "-m", "toughen", *ALONE])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} {reader}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == (0 if reader == ">&-" else 141), ended.stderr
    if reader == "> /dev/full":
        assert ended.stderr == "toughen: cannot write to standard output: No space left on device\n"
    assert epochs(tmp_path / "run") == ["1", "2"]


@pytest.mark.nightly
def test_a_terminal_that_is_closed_leaves_a_saved_run(start: Start, tmp_path: Path) -> None:
    """The kernel hangs up on the session, and every write from then on fails."""
    terminal, end = os.openpty()
    asked = start(*ALONE, stdin=end, stdout=end, stderr=end, start_new_session=True, preexec_fn=_own_terminal)
    os.close(end)
    while not (tmp_path / "run/checkpoints/last/state.json").exists():
        os.read(terminal, 10_000)
    os.close(terminal)
    assert asked.wait(120) in (130, 141)
    assert start("train", "--resume", "run").wait(120) == 0


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Endless(Dataset[torch.Tensor]):
    """Items that take long to make."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, place: int) -> torch.Tensor:
        time.sleep(0.05)
        return torch.zeros(1)


def test_a_killed_helper_is_said_in_a_sentence() -> None:
    """A real process that makes batches, as the kernel kills it for lack of memory."""
    batches = iter(DataLoader(Endless(), batch_size=None, num_workers=1))
    next(batches)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(RuntimeError) as caught:
        for _ in batches:
            pass
    said = killed_worker(caught.value)
    assert said is not None
    assert str(child.pid) in said
    assert killed_worker(RuntimeError("shapes do not match")) is None
