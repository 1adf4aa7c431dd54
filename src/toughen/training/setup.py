"""Surroundings of a run: Accelerate, its own random numbers, and what holds while steps are taken."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration

from toughen.errors import InputError
from toughen.hardware.allocator import memory_kept
from toughen.hardware.device import find_device
from toughen.hardware.precision import tf32
from toughen.hardware.processes import PATIENCE, Processes, meeting_place
from toughen.run import RunFolder
from toughen.training.compile import room_for
from toughen.training.trackers import Tracker


def make_accelerator(
    precision: Literal["fp32", "bf16"], device: torch.device, trackers: list[Tracker], folder: RunFolder
) -> Accelerator:
    """Accelerate's handle on device, precision and trackers.

    Raises:
        InputError: the launcher wants weights that are shared out, as by FSDP.
    """
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true":
            raise InputError(
                f"accelerate launch asked for {name}, and toughen train has whole weights in every process: launch it "
                "without; FSDP in a loop of your own is in docs/devices.md"
            )
    # Accelerate keeps device and precision for the life of the process; a second run may want others.
    if AcceleratorState._shared_state:
        AcceleratorState._reset_state(reset_partial_state=Processes.from_environment().local_rank is None)
    # Left to itself it also makes the GPU of each of several processes the current one.
    elsewhere = None if device == find_device("auto") else str(device)
    with _environment("ACCELERATE_TORCH_DEVICE", elsewhere):
        return Accelerator(
            mixed_precision="bf16" if precision == "bf16" else "no",
            cpu=device.type == "cpu",
            log_with=list(trackers) or None,
            project_config=ProjectConfiguration(str(folder.path), logging_dir=str(folder.path / "tensorboard")),
            # Several processes share the final evaluation too, and may wait for each other for long.
            kwargs_handlers=[InitProcessGroupKwargs(init_method=meeting_place(), timeout=PATIENCE)],
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


@contextmanager
def surroundings(device: torch.device, fast: bool, compiled: bool) -> Iterator[None]:
    """Allow TF32 and keep freed memory where the fast paths are on, and make room for compiled code, inside."""
    kept = memory_kept() if fast and device.type == "cpu" else nullcontext()
    room = room_for(64) if compiled else nullcontext()
    with tf32(device, fast), kept, room, warnings.catch_warnings():
        # Of several processes, where images have one channel, in which the two layouts are the same.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        yield
