"""Does a training step wait for images that do not fit in memory?

    python benchmarks/loading.py                     # Fashion-MNIST, written into a Parquet file of PNG images
    python benchmarks/loading.py --cifar10 FOLDER    # CIFAR-10 as Parquet files, in the Hugging Face layout

Measures: wall time of an epoch of TRADES on a small network, with all images decoded in memory, with images decoded
from their JPEG or PNG bytes as the loop asks for them (`--workers 0`), and with one process that decodes ahead; in turn
within one run, torch on one thread, so that a second core is free to decode. Beside them the loader alone, in images a
second. Target: decoding ahead costs at most 5 % over images in memory. Writes results/loading.json.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from common import Figure, Timing, alternate, finish, ratio, seconds_of
from robust_models import source
from toughen.attacks import GradientAttack
from toughen.commands.assemble import ready
from toughen.commands.settings import with_data_facts
from toughen.commands.train import DEFAULTS
from toughen.data import Parquet
from toughen.data.memory import hold
from toughen.methods import TRADES
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.training import Trainer

SIDES = {"in memory": (True, 0), "decoded on demand": (False, 0), "decoded ahead": (False, 1)}


def encoded(folder: Path, images: int) -> str:
    """A Parquet file of PNG images in the Hugging Face layout."""
    split = source("fashion-mnist").load("train")
    rows = []
    for pixels in split.images.take(torch.arange(images + 2)):
        stream = BytesIO()
        Image.fromarray(pixels[0].numpy()).save(stream, format="PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    pq.write_table(pa.table({"image": rows, "label": split.labels[: images + 2].numpy()}), folder / "train.parquet")
    return str(folder)


def trainer(stack: ExitStack, folder: str, images: int, decoded: bool, workers: int) -> Trainer:
    """A run that is ready for its first epoch."""
    method = TRADES(attack=GradientAttack(steps=5, start="normal"))
    asked = {"data": Parquet(folder), "model": partial(SmallCNN, width=8), "method": method, "workers": workers}
    asked |= {"train_images": images, "val_images": 2, "trackers": []}
    split = Parquet(folder).load("train")
    complete = with_data_facts({**DEFAULTS, **asked}, split)
    run = ready(RunFolder(stack.enter_context(tempfile.TemporaryDirectory())), complete, split)
    run.train.images = hold(split, "cpu", limit=None if decoded else 0)
    stack.enter_context(run.prepared())
    return run


def epoch(run: Trainer) -> None:
    run.begin_epoch()
    for images in run.train:
        run.train_on(images, False)


def loading(run: Trainer) -> None:
    for _ in run.train:
        pass


def timed(actions: dict[str, Callable[[], None]], repetitions: int) -> dict[str, Timing]:
    return alternate({name: partial(seconds_of, action, "wall") for name, action in actions.items()}, repetitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10 in Parquet files; default Fashion-MNIST")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        folder = given.cifar10 or encoded(Path(stack.enter_context(tempfile.TemporaryDirectory())), given.images)
        runs = {name: trainer(stack, folder, given.images, *how) for name, how in SIDES.items()}
        steps = timed({name: partial(epoch, run) for name, run in runs.items()}, given.repetitions)
        alone = timed({name: partial(loading, run) for name, run in runs.items()}, given.repetitions)
    row: dict[str, Any] = {"images": given.images}
    figures = []
    for name in SIDES:
        row[name] = {"epoch": steps[name].data(), "loader alone": given.images / alone[name].median}
        times, spread = ratio(steps[name], steps["in memory"])
        target = 1.05 if name == "decoded ahead" else None
        if name != "in memory":
            figures.append(Figure(f"an epoch, {name}, against images in memory", times, target, spread, at_most=True))
    finish(Path(__file__).name, {**vars(given), "cifar10": bool(given.cifar10)}, [row], figures)


if __name__ == "__main__":
    main()
