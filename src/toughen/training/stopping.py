"""Stopping a run without losing its place, and what several processes find of it together."""

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from toughen.errors import ToughenError


class Interrupted(ToughenError):
    """Raised when a run was asked to stop and has saved itself; the message holds the command that goes on with it."""


def any_of(stop: bool, accelerator: Accelerator) -> bool:
    """Whether any process is to stop; all processes ask it together."""
    if accelerator.num_processes == 1:
        return stop
    return bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device), reduction="sum") > 0)


def first_of(found: str | None, accelerator: Accelerator) -> str | None:
    """What the first of the processes that found something has found; all processes ask it together."""
    if not any_of(found is not None, accelerator):
        return None
    return next(each for each in gather_object([found]) if each is not None)
