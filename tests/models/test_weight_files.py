"""Weights from elsewhere: whatever wrote the file, the same logits come out, and nothing of it is run."""

import argparse
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import toughen
from toughen.data import Digits
from toughen.errors import RunError, ToughenWarning
from toughen.methods import Standard
from toughen.models import Classifier, Normalize, Timm, load_weights
from toughen.models.weight_files import read_weights
from toughen.training import SGD, Constant

IMAGES = torch.rand(4, 1, 8, 8)


def network() -> nn.Sequential:
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5)]
    return nn.Sequential(*layers).eval()


class Lightning(nn.Module):
    """Like a LightningModule: the network is an attribute."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


WRITERS: dict[str, Callable[[nn.Module, Path], None]] = {
    "safetensors": lambda net, path: save_file(net.state_dict(), path),
    "state dict": lambda net, path: torch.save(net.state_dict(), path),
    "old format": lambda net, path: torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False),
    "DataParallel": lambda net, path: torch.save(nn.DataParallel(net).state_dict(), path),
    "compiled": lambda net, path: torch.save(torch.compile(net).state_dict(), path),
    "compiled in DataParallel": lambda net, path: torch.save(nn.DataParallel(torch.compile(net)).state_dict(), path),  # type: ignore[arg-type]
    "Lightning": lambda net, path: torch.save(
        {"epoch": 3, "pytorch-lightning_version": "2.5", "state_dict": Lightning(net).state_dict()}, path
    ),
    "timm": lambda net, path: torch.save(
        {"epoch": 3, "arch": "x", "state_dict": net.state_dict(), "args": argparse.Namespace(lr=0.1)}, path
    ),
    "with NumPy's numbers": lambda net, path: torch.save({"net": net.state_dict(), "acc": np.float64(0.5)}, path),
    "averaged": lambda net, path: torch.save(AveragedModel(net).state_dict(), path),
    "before 0.4": lambda net, path: torch.save(
        {name: each for name, each in net.state_dict().items() if "num_batches" not in name}, path
    ),
    "half precision": lambda net, path: torch.save(
        {name: each.bfloat16() if each.is_floating_point() else each for name, each in net.state_dict().items()}, path
    ),
}


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "behind our normalisation"])
@pytest.mark.parametrize("writer", WRITERS)
def test_the_same_logits_whatever_wrote_the_file(writer: str, inside: bool, tmp_path: Path) -> None:
    saved, fresh = network(), network()
    saved[1].running_mean.fill_(0.3)  # type: ignore[union-attr, operator]
    WRITERS[writer](saved, tmp_path / "weights")
    loaded = load_weights(Classifier(Normalize([0.5], [0.5]), fresh) if inside else fresh, tmp_path / "weights")
    close = 0.02 if writer == "half precision" else 0
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), saved(IMAGES), rtol=0, atol=close)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_the_normalisation_that_timms_script_was_told(tmp_path: Path) -> None:
    net, arguments = network(), argparse.Namespace(mean=[0.3], std=[0.2])
    torch.save({"state_dict": net.state_dict(), "args": arguments}, tmp_path / "w.pth")
    with torch.no_grad():
        loaded = load_weights(network(), tmp_path / "w.pth").eval()(IMAGES)
        torch.testing.assert_close(loaded, net((IMAGES - 0.3) / 0.2))


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_librarys_own_file_fits_our_class_for_it(tmp_path: Path, in_front: bool, wrapped: bool) -> None:
    given = Timm(3, 1, name="test_resnet").eval()
    saved = nn.DataParallel(given.network) if wrapped else given.network
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "w.pth")
    new: nn.Module = Timm(3, 1, name="test_resnet")
    loaded = load_weights(Classifier(Normalize([0.5], [0.5]), new) if in_front else new, tmp_path / "w.pth").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), given(IMAGES))


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_run_from_every_kind_of_file(writer: str, tmp_path: Path) -> None:
    """Trained from it at a rate of next to nothing, resumed, evaluated: the file's weights, and its verdicts once it
    has the run's statistics of BatchNorm, which two epochs have replaced.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = nn.Sequential(*network()[:-1], nn.Linear(108, 10))
    file, quiet = tmp_path / "w.pt", {"trackers": [], "budget": "none", "device": "cpu"}
    trained = toughen.train(Digits(), own, Standard(), epochs=3, out=str(tmp_path / "first"), **quiet).model
    WRITERS[writer](trained, file)
    begun: dict[str, Any] = {"optimizer": partial(SGD, lr=1e-9), "schedule": Constant(), **quiet}
    toughen.train(Digits(), own, Standard(), epochs=1, init=str(file), out=str(tmp_path / "run"), **begun)
    after = toughen.train(model=own, resume=str(tmp_path / "run"), epochs=2, trust=["code"]).model.state_dict()
    read = load_weights(deepcopy(own), file)
    for name, weight in read.named_parameters():
        torch.testing.assert_close(after[name], weight.detach(), rtol=0, atol=1e-6)

    def held(*subject: str, **given: Any) -> int:
        asked: dict[str, Any] = {"budget": "quick", "test_images": 200, "device": "cpu", "checks": False}
        return toughen.evaluate(*subject, **given, **asked).result["figures"]["clean"]["held"]

    elsewhere: dict[str, Any] = {"data": Digits(), "out": str(tmp_path / "out")}
    alone = held(model=own, weights=str(file), **elsewhere)
    assert alone > 150
    assert alone == held(model=read, overwrite=True, **elsewhere)
    read.load_state_dict({name: each for name, each in after.items() if "running" in name}, strict=False)
    assert abs(held(str(tmp_path / "run"), trust=["code"]) - held(model=read, overwrite=True, **elsewhere)) <= 1


def test_what_was_taken_is_said(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": nn.DataParallel(network()).state_dict(), "model_ema": network().state_dict()}, tmp_path / "w.pt"
    )
    with pytest.warns(ToughenWarning, match=r"'state_dict' \(and not model_ema\), names without 'module\.'"):
        load_weights(network(), tmp_path / "w.pt")


class Canary:
    """What runs when a file is read that should not be run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _script(path: Path, canary: Path) -> None:
    torch.jit.script(network()).save(str(path))


def _exported(path: Path, canary: Path) -> None:
    torch.export.save(torch.export.export(network(), (IMAGES,)), path)


def _compressed(path: Path, canary: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", pickle.dumps({"weight": b"\0" * 10**7}))


REFUSED: dict[str, Callable[[Path, Path], object]] = {
    "whole network": lambda path, canary: torch.save(network(), path),
    "object beside the weights": lambda path, canary: torch.save({"state_dict": {}, "by": Canary(canary)}, path),
    "old format": lambda path, canary: torch.save(Canary(canary), path, _use_new_zipfile_serialization=False),
    "pickle": lambda path, canary: path.write_bytes(pickle.dumps(Canary(canary))),
    "TorchScript": _script,
    "exported": _exported,
    "compressed": _compressed,
    "no state dict": lambda path, canary: torch.save({"epoch": 3, "best": [1, 2]}, path),
    "a tensor": lambda path, canary: torch.save(torch.ones(3), path),
    "text": lambda path, canary: path.write_text("epochs: 3"),
    "empty": lambda path, canary: path.write_bytes(b""),
    "folder": lambda path, canary: path.mkdir(),
    "missing": lambda path, canary: None,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_have_to_be_run_or_holds_no_weights(kind: str, tmp_path: Path) -> None:
    path, canary = tmp_path / "weights.pt", tmp_path / "canary"
    REFUSED[kind](path, canary)
    with pytest.raises(RunError, match=r"weights\.pt"):
        read_weights(path)
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["whole network", "TorchScript", "exported"])
def test_the_conversion_that_the_message_names_gives_weights_that_load(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    REFUSED[kind](tmp_path / "weights.pt", tmp_path)
    with pytest.raises(RunError) as refused:
        read_weights(tmp_path / "weights.pt")
    code = str(refused.value).partition('python -c "')[2].partition('"')[0]
    exec(code)
    load_weights(network(), tmp_path / "weights-weights.pt")


@pytest.mark.parametrize("writer", ["state dict", "old format", "safetensors", "timm"])
def test_damaged_files(writer: str, tmp_path: Path) -> None:
    path, rng = tmp_path / "weights", np.random.default_rng(0)
    WRITERS[writer](network(), path)
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole[: int(rng.integers(1, len(whole)))] if rng.random() < 0.5 else whole)
        for place in rng.integers(0, len(content), 4):
            content[place] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        with suppress(RunError):
            read_weights(path)
