"""FSDP in a loop of one's own, on two CPU processes: it ends like DDP, and goes on from a saved state."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.nightly
def test_fsdp_ends_like_ddp_and_resumes() -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = Path(__file__).with_name("sharded.py")
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["TRADES: 4 tensors alike", "LBGAT: 8 tensors alike"]
