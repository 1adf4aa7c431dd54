"""Where a run computes: device, precision, trackers and its own random numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration

from toughen.errors import InputError, ToughenError
from toughen.run import RunFolder

Precision = Literal["auto", "fp32", "bf16"]
Tracker = Literal["tensorboard", "mlflow", "wandb"]


def find_device(name: str) -> torch.device:
    """The device that a setting names; auto is the GPU where there is one.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device: expected auto, cpu, cuda, cuda:1 or mps, got {name!r}") from None
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in here or (device.index or 0) >= here[device.type]:
        raise InputError(f"--device {name}: this machine has no such device; use --device auto or cpu")
    return device


def make_accelerator(precision: Precision, device: str, trackers: list[Tracker], folder: RunFolder) -> Accelerator:
    """Accelerate's handle on device, precision and trackers.

    Raises:
        ToughenError: a tracker's package is not installed.
    """
    for tracker in trackers:
        if find_spec(tracker) is None:
            raise ToughenError(f"--trackers {tracker} needs its package: pip install 'toughen[{tracker}]'")
    place = find_device(device)
    if precision == "auto":
        precision = "bf16" if place.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    # Accelerate keeps device and precision for the life of the process; a second run may want others.
    if AcceleratorState._shared_state:
        AcceleratorState._reset_state(reset_partial_state="LOCAL_RANK" not in os.environ)
    with _environment("ACCELERATE_TORCH_DEVICE", None if device == "auto" else str(place)):
        return Accelerator(
            mixed_precision="bf16" if precision == "bf16" else "no",
            cpu=place.type == "cpu",
            log_with=list(trackers) or None,
            project_config=ProjectConfiguration(str(folder.path), logging_dir=str(folder.path / "tensorboard")),
        )


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    old = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if old is not None:
                os.environ[name] = old


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Initial weights and dropout draw from torch's global generators: seed them inside, restore them after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
