"""Find the largest batch that a training step can take here."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import check_settings, with_data_facts
from toughen.data import ImageSet
from toughen.errors import InputError, RunError, did_you_mean
from toughen.hardware.device import find_device
from toughen.hardware.memory import Trial, Trials, free_memory, largest
from toughen.hardware.processes import Processes
from toughen.hardware.speed import wait_for
from toughen.numbers import check_number
from toughen.run import RunFolder
from toughen.settings.trust import obeying_trust
from toughen.training import Trainer


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


@obeying_trust
def tune_batch(
    *,
    up_to: int | None = None,
    memory: float | None = None,
    trust: Sequence[str] = (),
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
        trust: what files (recipes and others' runs) may name beside this package's classes and its libraries' networks,
            such as my_package.Net or my_package; their code is run.
        tried: called after every size.
        **settings: those of `train`; the search begins at batch_size.

    Raises:
        InputError: a setting is not usable, or this is one of several processes.
        RunError: not even 2 images fit.
    """
    unknown = next((name for name in settings if name not in DEFAULTS), None)
    if unknown is not None:
        raise InputError(f"tune_batch: unknown setting {unknown!r}; {did_you_mean(unknown, DEFAULTS)}")
    if Processes.from_environment().size > 1:
        raise InputError("tune-batch runs in one process; n processes then take n times its --batch_size together")
    if up_to is not None:
        check_number("--up_to", up_to, least=1, whole=True)
    if memory is not None:
        check_number("--memory", memory, "gigabytes", above=0)
    complete = {**DEFAULTS, **settings}
    check_settings(complete)
    images = complete["data"].load("train")
    complete = with_data_facts(complete, images)
    device = find_device(complete["device"])
    limit = free_memory(device) if memory is None else memory * 1e9
    search = Trials(lambda batch_size: _speed(complete, images, batch_size), device, limit, tried)
    there = complete["train_images"] or len(images) - complete["val_images"]
    most = there if up_to is None else min(up_to, there)
    found = largest(search.fits, complete["batch_size"], most)
    if found is None:
        raise RunError(
            f"not even a batch of 2 images fits into the memory of {device}; take a smaller --model or smaller images"
        )
    reason = "memory" if found < most else "data" if most == there else "up_to"
    return Tuned(found, reason, search.made)


def _speed(settings: dict[str, Any], images: ImageSet, batch_size: int) -> float:
    """Images a second in training steps of this size."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = ready(RunFolder(Path(folder) / "run"), {**settings, "batch_size": batch_size}, images)
        return batch_size / _seconds_a_step(trainer, batch_size)


def _seconds_a_step(trainer: Trainer, batch_size: int, at_least: int = 3, seconds: float = 1.0) -> float:
    """The fastest of a few steps on full batches after the first two, in which things are set up."""
    device, times = trainer.accelerator.device, list[float]()
    trainer.at.epoch = trainer.settings.epochs - 1  # the most expensive one, whatever grows or starts late
    with trainer.prepared():
        while len(times) < at_least or (sum(times) < seconds and len(times) < 20):
            trainer.begin_epoch()
            for batch in trainer.train:
                if len(batch) < batch_size or (sum(times) > seconds and len(times) >= at_least):
                    break
                wait_for(device)
                began = time.perf_counter()
                trainer.train_on(batch, last=True)
                wait_for(device)
                times.append(time.perf_counter() - began)
    return min(times[2:])
