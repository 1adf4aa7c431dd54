"""What the tests of the command line share: running it, in this process or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from toughen.cli import main


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def toughen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """`toughen ARGUMENTS` in an empty working folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        status = main(list(arguments))
        return Answer(status, *capsys.readouterr())

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `python ARGUMENTS` in the test's folder, with its output piped."""
    started = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        pipe = subprocess.PIPE
        command = [sys.executable, *arguments]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
        each.communicate()
