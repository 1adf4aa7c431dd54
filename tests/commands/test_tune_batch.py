"""The search for the largest batch, on limits that are known and on real memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from toughen import tune_batch
from toughen.commands.tune_batch import Trial
from toughen.errors import InputError, RunError
from toughen.methods import Standard
from toughen.models import SmallCNN

QUICK: dict[str, Any] = {"device": "cpu", "method": Standard(), "model": SmallCNN}


class Wasteful(nn.Module):
    """Keeps 4 MB an image for the backward pass, and computes next to nothing."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64 * in_channels, num_classes)
        self.scale = nn.Parameter(torch.ones(1_000_000 // num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.layer(images.flatten(1))
        return (logits[:, :, None] * self.scale).relu().mean(dim=2)


@pytest.mark.nightly  # its search alone: tests/hardware/test_largest_batch.py
def test_a_limit_of_memory_is_kept_to() -> None:
    room = 600e6
    asked = {**QUICK, "model": Wasteful, "batch_size": 4, "val_images": 143}
    tune_batch(**asked, up_to=4)  # what is imported by a first step stays
    limit = psutil.Process().memory_info().rss + room
    seen: list[Trial] = []
    found = tune_batch(memory=limit / 1e9, tried=seen.append, **asked)
    assert found.limit == "memory"
    assert found.trials == seen
    best = max((trial for trial in seen if trial.fits), key=lambda trial: trial.batch_size)
    assert best.batch_size == found.batch_size
    assert best.memory <= limit
    refused = [trial for trial in seen if not trial.fits]
    assert refused
    assert all(trial.memory > limit for trial in refused)
    # The forward pass keeps 4 MB an image, the backward pass has a few such tensors at a time, and the process may keep
    # some of them.
    assert 4 <= found.batch_size < room / 4e6


def test_all_images_or_as_many_as_asked_for() -> None:
    found = tune_batch(**QUICK, batch_size=600, train_images=1000)
    assert (found.batch_size, found.limit) == (1000, "data")
    found = tune_batch(**QUICK, batch_size=64, up_to=100)
    assert (found.batch_size, found.limit) == (100, "up_to")
    assert [trial.batch_size for trial in found.trials] == [64, 100]
    assert all(trial.images_per_second > 0 for trial in found.trials)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"up_to": 0}, "--up_to: expected at least 1, got 0"),
        ({"memory": -1.0}, r"--memory: expected gigabytes above 0, got -1\.0"),
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean .*epochs"),
        ({"epochs": 0}, "--epochs: expected at least 1"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tune_batch(**{**QUICK, **options})


def test_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        tune_batch(**QUICK)


def test_nothing_fits_into_no_memory() -> None:
    with pytest.raises(RunError, match="not even a batch of 2 images fits into the memory of cpu"):
        tune_batch(**QUICK, batch_size=4, memory=0.001)


LIMITED = """
import resource, sys
from pathlib import Path

sys.path.insert(0, {here!r})
import torch
from test_tune_batch import QUICK, Wasteful
from toughen import tune_batch

torch.set_num_threads(1)
tune_batch(up_to=2, **{{**QUICK, "batch_size": 2}})  # loads what is loaded when it is used: hundreds of megabytes
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 800_000_000,) * 2)
asked = {{**QUICK, "model": Wasteful, "batch_size": 16, "val_images": 143}}
found = tune_batch(memory=1000, **asked)
print(found.limit, found.batch_size)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process's memory are Linux's")
def test_memory_that_the_system_refuses(tmp_path: Path) -> None:
    """A real limit, which only the failed allocation tells."""
    code = LIMITED.format(here=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    limit, size = answer.stdout.split()
    assert limit == "memory"
    assert 800e6 / 40e6 < int(size) < 800e6 / 4e6
