"""Training by several processes that torchrun starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from toughen.training.log import read_rows

# A network without BatchNorm, whose gradient is the mean of those of a batch's parts.
NETWORK = """
from torch import nn

class Plain(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        super().__init__(nn.Conv2d(in_channels, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, num_classes))
"""
SIZE = ["--epochs", "2", "--val_images", "157", "--batch_size", "64", "--device", "cpu", "--trackers", "[]"]
ATTACK = ["--method", "PGDAT", "--method.attack.start", "clean"]
FIXED = ["--model", "network.Plain", *ATTACK, "--augment.crop", "0", "--augment.flip", "false"]


def start(folder: Path, processes: int, *words: str) -> "subprocess.Popen[str]":
    (folder / "network.py").write_text(NETWORK)
    (folder / "run.py").write_text("import sys\nfrom toughen.cli import main\nsys.exit(main())\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*launch, "run.py", "train", *words], cwd=folder, env=environment, **pipes)


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.mark.nightly
def test_what_two_processes_record_of_their_images_is_what_one_does(tmp_path: Path) -> None:
    words = ["MART" if word == "PGDAT" else word for word in [*SIZE, *FIXED]]
    words += ["--trace", "gradients,weights", "--budget", "none"]
    finish(start(tmp_path, 2, *words, "--out", "two"))
    finish(start(tmp_path, 1, *words, "--out", "one"))
    one, two = (read_rows(tmp_path / name / "trace.csv") for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        assert any(name.startswith("cosine/") for name in first)  # of the first one's images, so not the same
        shared = [name for name in first if name.startswith(("broken", "effective_share/", "on_broken/"))]
        assert len(shared) == 11
        for name in shared:
            assert second[name] == pytest.approx(first[name], rel=0.02), name


@pytest.mark.nightly
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    words = [*SIZE, *FIXED, "--budget", "quick", "--test_images", "30"]
    out = finish(start(tmp_path, 2, *words, "--out", "two"))
    assert out.count("run:    two") == 1, "only the first process speaks"
    assert out.count("epoch   2/2") == 1
    assert (tmp_path / "two/report.html").is_file()
    finish(start(tmp_path, 1, *words, "--out", "one"))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)
    first, second = (read_rows(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    for a, b in zip(first, second, strict=True):
        assert b["loss/adversarial_ce"] == pytest.approx(a["loss/adversarial_ce"], rel=1e-3)
        assert b["val_pgd"] == a["val_pgd"]
        assert b["flops_per_second"] / b["images_per_second"] == pytest.approx(
            a["flops_per_second"] / a["images_per_second"]
        )


@pytest.mark.nightly
def test_with_synced_batchnorm_a_network_that_has_it_ends_as_in_one(tmp_path: Path) -> None:
    network = ["--model", "small_cnn", "--model.width", "4", *ATTACK, "--augment.crop", "0", "--augment.flip", "false"]
    words = [*SIZE, *network, "--average", "EMA", "--average.decay", "0.9", "--budget", "none"]
    for processes, synced, name in ((1, "true", "one"), (2, "true", "two"), (2, "false", "apart")):
        finish(start(tmp_path, processes, *words, "--fast", "false", "--sync_batchnorm", synced, "--out", name))
    one, two, apart = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two", "apart"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-3)
    assert any(not torch.allclose(apart[name], tensor, rtol=1e-3, atol=1e-3) for name, tensor in one.items())


@pytest.mark.nightly
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    words = [*SIZE, "--checkpoint_every", "3", "--log_every", "1", "--budget", "none", "--method.attack.steps", "3"]
    finish(start(tmp_path, 2, *words, "--out", "whole"))
    stopped = start(tmp_path, 2, *words, "--out", "stopped")
    end = time.monotonic() + 120
    while not (tmp_path / "stopped/checkpoints/last/state.json").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=120)
    assert err.count("go on with: toughen train --resume stopped") == 1
    assert len(read_rows(tmp_path / "stopped/metrics.csv")) < 2
    finish(start(tmp_path, 2, "--resume", "stopped"))
    one, other = (load_file(tmp_path / name / "checkpoints/last/tensors.safetensors") for name in ("whole", "stopped"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
