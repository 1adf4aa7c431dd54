"""Processes are asked for in one place."""

import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest

import toughen
from toughen.errors import RunError
from toughen.hardware.processes import Processes


def test_a_process_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with Processes.from_environment() as processes:
        processes.wait()
        assert (processes.first, processes.size, processes.device("auto")) == (True, 1, "auto")


def test_torchruns_processes_know_their_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    processes = Processes.from_environment()
    assert (processes.first, processes.rank, processes.size, processes.local_rank, processes.device("cpu")) == (
        False,
        2,
        4,
        1,
        "cpu",
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert processes.device("auto") == "cuda:1"


def test_a_launcher_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    """As a kill leaves it: nobody listens where torchrun said that it keeps the store."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        port = str(once.getsockname()[1])
    said = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in {**said, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("toughen.hardware.processes._REACH", timedelta(seconds=0.5))
    with pytest.raises(RunError, match=f"cannot be reached at 127.0.0.1:{port}: it has ended"):
        Processes.from_environment().__enter__()


def test_nobody_else_asks_the_environment():
    source = Path(toughen.__file__).parent
    asking = [file.name for file in source.rglob("*.py") if re.search("RANK|WORLD_SIZE", file.read_text())]
    assert asking == ["processes.py"]
