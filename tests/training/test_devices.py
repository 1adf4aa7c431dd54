"""A step keeps to one device: on torch's meta device, which holds no values, an operation of two devices is an error.

So is a copy to the host, and here a random number of another device's generator. No GPU is needed for it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from cases import CASES
from torch.overrides import TorchFunctionMode

from toughen.attacks import PGD, GradientAttack
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings import assemble
from toughen.commands.trainings.settings import with_data_facts
from toughen.data import CutMix, Digits
from toughen.methods import TRADES
from toughen.models import state
from toughen.models.fold import FoldedReplica
from toughen.run import RunFolder
from toughen.training import AWP, EMA, GrowingSize, Trainer, updates

META = torch.device("meta")
TWO = GradientAttack(steps=2, start="normal")


class Generator(torch.Generator):
    """A CPU's generator, for the meta device has none, that knows which device it was made for."""

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        made = super().__new__(cls)
        made.asked = torch.device(device)
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    asked: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.asked


class OneDevice(TorchFunctionMode):
    """Refuses a generator of another device than the tensor's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and generator.device.type != result.device.type:
            raise RuntimeError(f"{func}: a generator of {generator.device} for a tensor of {result.device}")
        return result


class NoAutocast(contextlib.nullcontext):
    """In place of autocast, which the meta device lacks."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __call__(self, function: Any) -> Any:
        return function


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything on it; what asks for values is left out, such as whether a replica is the same function."""
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch, "autocast", NoAutocast)
    monkeypatch.setattr(assemble, "find_device", lambda _: META)
    monkeypatch.setattr(state, "check_values", lambda _: None)
    monkeypatch.setattr(updates, "agrees", lambda *_: True)
    monkeypatch.setattr(updates, "fold", lambda model, images, dtype, layout: FoldedReplica(model, dtype, layout))
    yield
    AcceleratorState._reset_state(reset_partial_state=True)  # else the next Accelerator of this process is there too


def take_steps(folder: Path, options: dict[str, Any]) -> Trainer:
    """An epoch of two batches."""
    images = Digits().load("train")
    asked = {**DEFAULTS, "batch_size": 32, "train_images": 64, "val_images": 20, "precision": "fp32", **options}
    with OneDevice():
        trainer = assemble.ready(RunFolder(folder), with_data_facts(asked, images), images)
        trainer.begin_epoch()
        for batch in trainer.train:
            trainer.train_on(batch, last=True)
    assert all(tensor.device == META for tensor in (*trainer.model.parameters(), *trainer.method.buffers()))
    return trainer


@pytest.mark.usefixtures("on_meta")
def test_steps_with_everything(tmp_path: Path) -> None:
    options = {"average": EMA(), "awp": AWP(start=1), "clip_grad_norm": 1.0, "label_smoothing": 0.1, "accumulate": 2}
    options |= {"image_size": GrowingSize(), "cutmix": CutMix(), "class_weight": "balanced", "precision": "bf16"}
    assert take_steps(tmp_path, {"method": TRADES(attack=TWO), **options}).updates.replica is not None


WAITING = ("DAJAT", "EAT")
"""Wait once a batch for what the device drew: a seed of AutoAugment, a norm. The meta device has no values to tell."""


@pytest.mark.nightly
@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", [name for name in CASES if name not in WAITING])
def test_steps_of_every_method(tmp_path: Path, name: str) -> None:
    for number, case in enumerate(CASES[name]):
        for fast in (True, False):
            take_steps(tmp_path / f"{number}{fast}", {"method": case.make(), "fast": fast})


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize(
    "mistake",
    ["a generator", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("a tensor", "a copy to the host"))],
)
def test_a_mistake_is_noticed(tmp_path: Path, mistake: str) -> None:
    class Mistaken(PGD):
        def initial(self, images: torch.Tensor, *_: Any) -> torch.Tensor:
            if mistake == "a tensor":
                return images + torch.zeros(images.shape)
            if mistake == "a generator":
                return torch.rand(images.shape, generator=torch.Generator(), device=images.device)
            return images.cpu().to(images.device)

    with pytest.raises((RuntimeError, NotImplementedError), match="device|meta"):
        take_steps(tmp_path, {"method": TRADES(attack=Mistaken(steps=1))})
