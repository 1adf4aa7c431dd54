"""toughen's own training step for the benchmarks: a run's trainer on random images, as `toughen train` assembles it."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from toughen.batch import Batch
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import with_data_facts
from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.methods import Method
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from toughen.training import Trainer


class RandomImages(DataSource):
    """Colour images of noise with ten classes: a step takes as long as on real ones."""

    threat = ThreatModel("linf", "8/255")

    def __init__(self, count: int = 64, size: int = 32) -> None:
        self.count = count
        self.size = size

    def load(self, split: Split) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (self.count, 3, self.size, self.size), dtype=torch.uint8, generator=generator)
        labels = torch.arange(self.count) % 10
        return ImageSet(Decoded(pixels), labels, tuple("abcdefghij"), "noise")


def trainer(
    method: Method,
    network: Callable[..., nn.Module],
    batch: int,
    stack: ExitStack,
    *,
    size: int = 32,
    **settings: Any,
) -> tuple[Trainer, Batch]:
    """A run that is ready for its first step, and a batch of it.

    Args:
        method: how it trains.
        network: what it trains.
        batch: images in a step.
        stack: deletes the run's folder.
        size: of the images, height and width.
        settings: others of `toughen.train`.
    """
    data = RandomImages(2 * batch + 2, size)
    asked = {"data": data, "model": network, "method": method, "batch_size": batch, "val_images": 2, "trackers": []}
    training_set = data.load("train")
    complete = with_data_facts({**DEFAULTS, **asked, **settings}, training_set)
    run = ready(RunFolder(stack.enter_context(tempfile.TemporaryDirectory())), complete, training_set)
    run.begin_epoch()
    return run, next(iter(run.train))
