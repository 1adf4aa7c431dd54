"""Does a training step wait for images that do not fit in memory?

    python benchmarks/loading.py                     # Fashion-MNIST, written into a Parquet file of PNG images
    python benchmarks/loading.py --cifar10 FOLDER    # CIFAR-10 as Parquet files, in the Hugging Face layout
    python benchmarks/loading.py --photos folder     # photographs of 500 x 375 as JPEG files, resized to 224 x 224
    python benchmarks/loading.py --photos tar        # the same in tar shards

Measures: an epoch of TRADES on a small network (of photographs: of standard training on torchvision's ResNet-18, the
step that is over soonest), with all images decoded in memory, with images decoded from their JPEG or PNG bytes as the
loop asks for them (`--workers 0`), and with one process that decodes ahead; in turn within one run, torch on one
thread, so that a second core is free to decode. Wall time is what an epoch takes if nobody else uses the machine;
processor time of the process that trains is what it takes of one core, whoever uses the others; that of all processes
is the work. Beside them the share of the epoch in which the loop waits for its next batch, and the loader alone, in
images a second. Target: decoding ahead costs at most 2 % over images in memory; for photographs the loop waits at most
2 % of the time after the first batch. Writes results/<machine>/loading.json, of photographs loading-photos-LAYOUT.json.
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import Figure, Timing, alternate, finish, ratio, seconds_of
from encoded_images import in_parquet, photographs
from toughen.attacks import GradientAttack
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.assemble import ready
from toughen.commands.trainings.settings import with_data_facts
from toughen.data import DataSource, Parquet, images_at
from toughen.data.memory import hold
from toughen.methods import TRADES, Standard
from toughen.models import SmallCNN, Torchvision
from toughen.run import RunFolder
from toughen.training import Trainer

SIDES = {"in memory": (True, 0), "decoded on demand": (False, 0), "decoded ahead": (False, 1)}
VALIDATION = 2


def step(photos: bool) -> dict[str, Any]:
    """The settings that decide what a step costs."""
    if photos:
        return {"model": partial(Torchvision, name="resnet18"), "method": Standard(), "batch_size": 16}
    return {"model": partial(SmallCNN, width=8), "method": TRADES(attack=GradientAttack(steps=5, start="normal"))}


def trainer(
    stack: ExitStack, data: DataSource, images: int, settings: dict[str, Any], decoded: bool, workers: int
) -> Trainer:
    """A run that is ready for its first epoch."""
    asked = {"data": data, **settings, "workers": workers}
    asked |= {"train_images": images, "val_images": VALIDATION, "trackers": []}
    split = data.load("train")
    complete = with_data_facts({**DEFAULTS, **asked}, split)
    run = ready(RunFolder(stack.enter_context(tempfile.TemporaryDirectory())), complete, split)
    run.train.images = hold(split, "cpu", limit=None if decoded else 0)
    stack.enter_context(run.prepared())
    return run


class Epochs:
    """Epochs of a run; of each one what it took.

    Attributes:
        wall: seconds.
        own: seconds of processor time of this process.
        all: the same with that of the processes that decode.
        waited: the share of the wall time in which the loop waited for its next batch.
        waited_later: the same after the first batch, which comes once the process that decodes has started.
    """

    def __init__(self, run: Trainer) -> None:
        self.run = run
        self.wall: list[float] = []
        self.own: list[float] = []
        self.all: list[float] = []
        self.waited: list[float] = []
        self.waited_later: list[float] = []

    def __call__(self) -> float:
        worked, first, before, began = 0.0, 0.0, os.times(), time.perf_counter()
        self.run.begin_epoch()
        for images in self.run.train:
            at = time.perf_counter()
            first = first or at - began
            self.run.train_on(images, False)
            worked += time.perf_counter() - at
            last = time.perf_counter()
        wall, after = time.perf_counter() - began, os.times()  # a child's time is there once it has ended
        took = [now - then for now, then in zip(after[:4], before[:4], strict=True)]
        self.wall.append(wall)
        self.own.append(sum(took[:2]))
        self.all.append(sum(took))
        self.waited.append(1 - worked / wall)
        self.waited_later.append(1 - worked / (last - began - first))
        return wall


def loading(run: Trainer) -> None:
    for _ in run.train:
        pass


def figures_of(epochs: dict[str, Epochs], photos: bool) -> list[Figure]:
    """Each side against images in memory, within a round; the first epoch of each warms up.

    An epoch of few photographs is mostly its start, so that their target is the waiting after that.
    """
    names = {"wall": "wall time", "own": "processor time of the process that trains", "all": "processor time of all"}
    figures = []
    for name, side in list(epochs.items())[1:]:
        ahead = name == "decoded ahead"
        for kind, called in names.items():
            sides = [Timing.of(getattr(each, kind)[1:]) for each in (side, epochs["in memory"])]
            times, spread = ratio(*sides)
            target = 1.02 if ahead and kind != "all" and not photos else None
            figures.append(Figure(f"an epoch, {name}, {called}", times, target, spread, at_most=True))
        for called, shares in (("", side.waited), (" after the first batch", side.waited_later)):
            target = 2.0 if ahead and photos and called else None
            waited = 100 * statistics.median(shares[1:])
            figures.append(Figure(f"waiting for images{called}, {name}", waited, target, at_most=True, unit=" %"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10 in Parquet files; default Fashion-MNIST")
    parser.add_argument("--photos", choices=("folder", "tar"), help="photographs in this layout")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        place, needed = Path(stack.enter_context(tempfile.TemporaryDirectory())), given.images + VALIDATION
        if given.photos:
            data = images_at(photographs(place, needed, given.photos), size=224)
        else:
            data = Parquet(given.cifar10 or in_parquet(place, needed))
        settings = step(bool(given.photos))
        runs = {name: trainer(stack, data, given.images, settings, *how) for name, how in SIDES.items()}
        epochs = {name: Epochs(run) for name, run in runs.items()}
        alternate(dict(epochs), given.repetitions)
        wall = partial(seconds_of, clock="wall")
        alone = alternate({name: partial(wall, partial(loading, run)) for name, run in runs.items()}, 3)
    row: dict[str, Any] = {"images": given.images}
    for name, side in epochs.items():
        row[name] = {kind: Timing.of(seconds[1:]).data() for kind, seconds in vars(side).items() if kind != "run"}
        row[name]["loader alone"] = given.images / alone[name].median
    called = Path(__file__).name if given.photos is None else f"loading-photos-{given.photos}.py"
    finish(called, {**vars(given), "cifar10": bool(given.cifar10)}, [row], figures_of(epochs, bool(given.photos)))


if __name__ == "__main__":
    main()
