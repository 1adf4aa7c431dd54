"""A step that does not fit into memory, in a process of which the system limits the memory."""

import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = """
import resource, sys
import torch
from toughen.cli import main
from toughen.training.loop import Trainer

fit = Trainer.fit

def limited(trainer):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000,) * 2)
    fit(trainer)

torch.set_num_threads(1)
Trainer.fit = limited
words = ["--device", "cpu", "--fast", "false", "--method", "Standard", "--model.width", "64", "--batch_size", "1024"]
raise SystemExit(main(["train", *words, "--workers", "0", "--trackers=", "--budget", "none", "--out", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and a limit of the address space")
def test_a_step_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path / "a")], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "--batch_size 512 --accumulate 2" in " ".join(ended.stderr.split())
