"""Real processes that are stopped or killed in the middle of an epoch, and go on."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

SIZE = ["--epochs", "3", "--batch_size", "16", "--method.attack.steps", "2", "--checkpoint_every", "7"]
LINE = [*SIZE, "--budget", "none", "--device", "cpu", "--trackers", "[]"]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "last" / "tensors.safetensors")


def wait_for(path: Path, started: Any, seconds: float = 120) -> None:
    """Until a checkpoint within an epoch is there, so that what follows it is lost or saved in mid-epoch."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_or_stopped_and_resumed_ends_with_the_same_bits(
    process: Callable[..., Any], toughen: Callable[..., Any], tmp_path: Path
) -> None:
    killed = process("-m", "toughen", "train", *LINE, "--out", "killed")
    wait_for(tmp_path / "killed/checkpoints/last/state.json", killed)
    killed.kill()
    killed.wait()

    stopped = process("-m", "toughen", "train", *LINE, "--out", "stopped")
    wait_for(tmp_path / "stopped/checkpoints/last/state.json", stopped)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 130, err
    assert "Traceback" not in out + err
    command = err.rstrip("\n").partition("go on with: ")[2]
    assert command == "toughen train --resume stopped"

    for name in ("killed", "stopped"):
        assert epochs(tmp_path / name) != ["1", "2", "3"]
    again = process("-m", *command.split())
    out, err = again.communicate(timeout=120)
    assert (again.returncode, err) == (0, "")
    assert out.splitlines()[-1].split() == ["run:", "stopped"]
    assert toughen("train", "--resume", "killed").status == 0

    assert toughen("train", *LINE, "--out", "whole").status == 0
    expected = tensors(tmp_path / "whole")
    for name in ("killed", "stopped"):
        assert epochs(tmp_path / name) == ["1", "2", "3"]
        found = tensors(tmp_path / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
        model = (tmp_path / name / "model.safetensors").read_bytes()
        assert model == (tmp_path / "whole/model.safetensors").read_bytes()


def epochs(run: Path) -> list[str]:
    """The epochs that metrics.csv has."""
    file = run / "metrics.csv"
    return [line.partition(",")[0] for line in file.read_text().splitlines()[1:]] if file.exists() else []
