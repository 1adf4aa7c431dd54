"""Processes are asked for in one place."""

import pytest

from toughen.hardware.processes import Processes


def test_a_process_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with Processes.from_environment() as crew:
        crew.wait()
        assert (crew.first, crew.size, crew.device("auto")) == (True, 1, "auto")


def test_torchruns_processes_know_their_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    crew = Processes.from_environment()
    assert (crew.first, crew.rank, crew.size, crew.device("cpu")) == (False, 2, 4, "cpu")
