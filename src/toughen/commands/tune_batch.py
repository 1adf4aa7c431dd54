"""Find the largest batch that a training step can take here."""

import gc
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils.memory import should_reduce_batch_size

from toughen.commands.assemble import ready
from toughen.commands.settings import check_settings, with_data_facts
from toughen.commands.train import DEFAULTS
from toughen.data import ImageSet
from toughen.device import find_device
from toughen.errors import InputError, RunError, did_you_mean
from toughen.run import RunFolder
from toughen.training import Trainer
from toughen.training.batch_size import largest
from toughen.training.cost import forget_peak_memory, peak_memory, wait_for

SHARE = 0.9
"""Of the memory that is free which a step may take: a full GPU fragments, and a full machine ends the process."""


@dataclass(frozen=True)
class Trial:
    """A batch size that was tried.

    Attributes:
        batch_size: images in a step.
        memory: the most bytes in use; expected ones where the step was not taken, for they are too many.
        images_per_second: speed of the training steps; None where the batch does not fit.
    """

    batch_size: int
    memory: int
    images_per_second: float | None

    @property
    def fits(self) -> bool:
        """Whether its steps were taken, within the limit."""
        return self.images_per_second is not None


@dataclass(frozen=True)
class Tuned:
    """What `tune_batch` found.

    Attributes:
        batch_size: the largest that fits, to within a sixteenth.
        limit: why there is no larger one: memory, data (it takes all images) or up_to.
        trials: every size that was tried, in order.
    """

    batch_size: int
    limit: str
    trials: list[Trial]


def tune_batch(
    *,
    up_to: int | None = None,
    memory: float | None = None,
    tried: Callable[[Trial], None] = lambda trial: None,
    **settings: Any,
) -> Tuned:
    """Find the largest batch that a training step can take here.

    Takes a few real steps, as in the run's last epoch, with batches of doubled size until one does not fit, then of
    sizes in between. What a size will need is told from the two largest before it; if that is more than there is, it is
    not tried.

    Args:
        up_to: no larger size is tried; default as many as there are training images.
        memory: gigabytes that may be in use; default nine tenths of what is free on the GPU or the machine.
        tried: called after every size.
        **settings: those of `train`; the search begins at batch_size.

    Raises:
        InputError: a setting is not usable, or this is one of several processes.
        RunError: not even 2 images fit.
    """
    unknown = next((name for name in settings if name not in DEFAULTS), None)
    if unknown is not None:
        raise InputError(f"tune_batch: unknown setting {unknown!r}; {did_you_mean(unknown, DEFAULTS)}")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("tune-batch runs in one process; n processes then take n times its --batch_size together")
    for name, value in (("up_to", up_to), ("memory", memory)):
        if value is not None and value <= 0:
            raise InputError(f"--{name}: expected more than 0, got {value}")
    complete = {**DEFAULTS, **settings}
    check_settings(complete)
    images = complete["data"].load("train")
    complete = with_data_facts(complete, images)
    device = find_device(complete["device"])
    search = _Search(complete, images, device, _limit(device) if memory is None else memory * 1e9, tried)
    there = complete["train_images"] or len(images) - complete["val_images"]
    most = there if up_to is None else min(up_to, there)
    found = largest(search.fits, complete["batch_size"], most)
    if found is None:
        raise RunError(
            f"not even a batch of 2 images fits into the memory of {device}; take a smaller --model or smaller images"
        )
    limit = "memory" if found < most else "data" if most == there else "up_to"
    return Tuned(found, limit, search.trials)


class _Search:
    """Tries batch sizes, and remembers what they took."""

    def __init__(
        self,
        settings: dict[str, Any],
        images: ImageSet,
        device: torch.device,
        limit: float,
        tried: Callable[[Trial], None],
    ) -> None:
        self.settings, self.images, self.device = settings, images, device
        self.limit, self.tried = limit, tried
        self.trials: list[Trial] = []

    def fits(self, batch_size: int) -> bool:
        """Try a size, unless it is sure not to fit."""
        trial = Trial(batch_size, self._expected(batch_size), None)
        if trial.memory <= self.limit:
            trial = self._try(batch_size)
        self.trials.append(trial)
        self.tried(trial)
        return trial.fits

    def _expected(self, batch_size: int) -> int:
        """Bytes by the straight line through the two largest sizes that were taken; 0 before there are two."""
        taken = sorted((trial.batch_size, trial.memory) for trial in self.trials if trial.fits)[-2:]
        if len(taken) < 2:
            return 0
        (size, bytes_), (larger, more) = taken
        return int(more + (more - bytes_) / (larger - size) * (batch_size - larger))

    def _try(self, batch_size: int) -> Trial:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        forget_peak_memory(self.device)
        speed: float | None = None
        settings = {**self.settings, "batch_size": batch_size}
        try:
            with tempfile.TemporaryDirectory() as folder:
                trainer = ready(RunFolder(Path(folder) / "run"), settings, self.images)
                speed = batch_size / _seconds_a_step(trainer, batch_size)
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
                raise
        memory = peak_memory(self.device)
        return Trial(batch_size, memory, speed if memory <= self.limit else None)


def _seconds_a_step(trainer: Trainer, batch_size: int, at_least: int = 3, seconds: float = 1.0) -> float:
    """The fastest of a few steps on full batches after the first two, in which things are set up."""
    device, times = trainer.accelerator.device, list[float]()
    trainer.epoch = trainer.settings.epochs - 1  # the most expensive one, whatever grows or starts late
    with trainer.prepared():
        while len(times) < at_least or (sum(times) < seconds and len(times) < 20):
            trainer.begin_epoch()
            for batch in trainer.train:
                if len(batch) < batch_size or (sum(times) > seconds > 0 and len(times) >= at_least):
                    break
                wait_for(device)
                began = time.perf_counter()
                trainer.train_on(batch, last=True)
                wait_for(device)
                times.append(time.perf_counter() - began)
    return min(times[2:])


def _limit(device: torch.device) -> float:
    """Bytes that may be in use."""
    if device.type == "cuda":
        return SHARE * torch.cuda.mem_get_info(device)[0]
    return psutil.Process().memory_info().rss + SHARE * psutil.virtual_memory().available
