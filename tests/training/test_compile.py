"""Compiled passes: the same figures, no code compiled anew from step to step, and what they refuse."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo
from safetensors.torch import load_file
from torch import Tensor, nn

from toughen import train
from toughen.attacks import GradientAttack
from toughen.errors import InputError
from toughen.methods import ARAT, TRADES
from toughen.models import SmallCNN, split_batch_norms
from toughen.models.features import captured
from toughen.training import EMA, GrowingSize, Interrupted, Silent
from toughen.training.compile import CompiledPasses, room_for
from toughen.training.log import read_rows


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture
def eager_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and guarded as ever, but run as it is: a second instead of half a minute."""
    torch._dynamo.reset()
    plain: Callable = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic, mode: plain(call, dynamic=dynamic, backend="eager"))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(10, 1, width=4)


@pytest.mark.usefixtures("eager_backend")
def test_full_batches_are_compiled_and_others_are_not() -> None:
    model = network().eval()
    passes = CompiledPasses(model, batch_size=4)
    images = torch.rand(8, 1, 8, 8)
    with torch.no_grad():
        expected = model(images)
        before = graphs()
        with passes.on():
            for _ in range(3):
                torch.testing.assert_close(model(images[:4]), expected[:4])
            assert graphs() == before + 1
            torch.testing.assert_close(model(images[:3]), expected[:3])
            assert graphs() == before + 1
            torch.testing.assert_close(model(images), expected)
            assert graphs() == before + 2
        assert "forward" not in vars(model)
        model(images[:4])


@pytest.mark.usefixtures("eager_backend")
def test_weights_that_change_need_no_new_code() -> None:
    model = network()
    passes = CompiledPasses(model, batch_size=4)
    images = torch.rand(4, 1, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen = []
    for _ in range(4):
        with passes.on():
            model(images).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            model.eval()(images)
        model.train()
        seen.append(graphs())
    assert len(set(seen)) == 1


@pytest.mark.parametrize(("on_gpu", "accumulating"), [(True, False), (True, True), (False, False)])
def test_graphs_are_for_gpus_where_no_gradient_outlives_a_step(
    monkeypatch: pytest.MonkeyPatch, on_gpu: bool, accumulating: bool
) -> None:
    modes = []
    monkeypatch.setattr(torch, "compile", lambda call, dynamic, mode: modes.append(mode) or call)
    model = network()
    monkeypatch.setattr(model, "parameters", lambda: iter([SimpleNamespace(is_cuda=on_gpu)]))
    passes = CompiledPasses(model, 4, accumulating)
    assert modes == ["reduce-overhead" if on_gpu and not accumulating else None]
    assert passes.graphs == (modes == ["reduce-overhead"])


@pytest.mark.usefixtures("eager_backend")
def test_layers_that_are_watched_are_seen() -> None:
    model = network().eval()
    passes = CompiledPasses(model, batch_size=4)
    with passes.on(), torch.no_grad():
        model(torch.rand(4, 1, 8, 8))
        images = torch.rand(4, 1, 8, 8)
        with captured(model, ["features.4"]) as features:
            model(images)
    with torch.no_grad(), captured(model, ["features.4"]) as expected:
        model(images)
    torch.testing.assert_close(features["features.4"], expected["features.4"])


@pytest.mark.usefixtures("eager_backend")
def test_more_kinds_of_calls_than_torch_keeps_by_itself() -> None:
    model = network().eval()
    passes = CompiledPasses(model, batch_size=2)
    before = graphs()
    with passes.on(), room_for(64), torch.no_grad():
        for side in range(4, 16):
            model(torch.rand(2, 1, side, side))
    assert graphs() == before + 12


def test_branches_chosen_from_outside_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--compile: the network has two branches of BatchNorm"):
        CompiledPasses(split_batch_norms(network()), 4)
    with pytest.raises(InputError, match="--compile"):
        train(model=SmallCNN, method=ARAT(), compile=True, budget="none", trackers=[], out=str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_fast_path_that_is_switched_off(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--compile is a fast path, and --fast false turns these off"):
        train(compile=True, fast=False, out=str(tmp_path / "a"))


class Watch(Silent):
    """Notes how much code there is after every step, and stops after one."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.graphs = stop, []

    def stepped(self, step: int) -> None:
        self.graphs.append(graphs())
        if step == self.stop:
            signal.raise_signal(signal.SIGTERM)


RUN = {"epochs": 3, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 64, "train_images": 200}


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "last" / "tensors.safetensors")


@pytest.mark.nightly
@pytest.mark.parametrize("options", [{}, {"average": EMA(), "image_size": GrowingSize(until=0.7, stages=1)}])
def test_compiled_runs(tmp_path: Path, options: dict) -> None:
    """By the real compiler: close to the plain run, bit-identical when resumed, nothing compiled after the start."""
    torch._dynamo.reset()
    method = TRADES(attack=GradientAttack(steps=2, start="normal"))
    settings = {**RUN, "model": partial(SmallCNN, width=4), "method": method, "val_images": 20, **options}
    whole = Watch()
    train(**settings, compile=True, out=str(tmp_path / "whole"), observer=whole)
    per_epoch = len(whole.graphs) // 3
    grown = 2 * per_epoch if options else 0
    assert whole.graphs[grown + 2] == whole.graphs[-1], whole.graphs
    with pytest.raises(Interrupted):
        train(**settings, compile=True, out=str(tmp_path / "stopped"), observer=Watch(per_epoch + 2))
    train(resume=str(tmp_path / "stopped"))
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one)
    train(**settings, out=str(tmp_path / "plain"))
    plain, compiled = (read_rows(tmp_path / name / "metrics.csv")[0] for name in ("plain", "whole"))
    assert compiled["loss/natural"] == pytest.approx(plain["loss/natural"], rel=0.02)
    assert compiled["flops_per_second"] / compiled["images_per_second"] == pytest.approx(
        plain["flops_per_second"] / plain["images_per_second"]
    )


@pytest.mark.nightly
def test_a_compiler_that_fails_is_said(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    size = ["--epochs", "1", "--train_images", "200", "--batch_size", "64"]
    words = ["--compile", *size, "--budget", "none", "--device", "cpu"]
    command = [sys.executable, "-m", "toughen", "train", *words, "--out", str(tmp_path / "a")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 2
    assert "toughen: --compile: torch cannot compile the network: " in answer.stderr
    assert "Traceback" not in answer.stderr
