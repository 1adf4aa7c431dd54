"""Does a training step wait for images that do not fit in memory?

    python benchmarks/loading.py                     # Fashion-MNIST, written into a Parquet file of PNG images
    python benchmarks/loading.py --cifar10 FOLDER    # CIFAR-10 as Parquet files, in the Hugging Face layout
    python benchmarks/loading.py --photos folder     # photographs of 500 x 375 as JPEG files, resized to 64 x 64
    python benchmarks/loading.py --photos tar        # the same in tar shards

Measures: wall time of an epoch of TRADES on a small network, with all images decoded in memory, with images decoded
from their JPEG or PNG bytes as the loop asks for them (`--workers 0`), and with one process that decodes ahead; in turn
within one run, torch on one thread, so that a second core is free to decode. Beside them the share of the epoch in
which the loop waits for its next batch, how many processors are busy, and the loader alone, in images a second. Target:
decoding ahead costs at most 5 % over images in memory. Writes loading.json, of photographs
loading-photos-LAYOUT.json.
"""

import argparse
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from common import Figure, Timing, alternate, finish, ratio, seconds_of
from robust_models import source
from toughen.attacks import GradientAttack
from toughen.commands.assemble import ready
from toughen.commands.settings import with_data_facts
from toughen.commands.train import DEFAULTS
from toughen.data import DataSource, Parquet, images_at
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


def photographs(folder: Path, images: int, layout: str) -> str:
    """Pieces of scikit-learn's two photographs, of 500 x 375 pixels, as JPEG; the class is the photograph."""
    drawn, files = np.random.default_rng(0), dict[str, bytes]()
    for number in range(images + 2):
        whole = load_photograph(number % 2)
        top, left = (int(drawn.integers(room)) for room in (whole.shape[0] - 375, whole.shape[1] - 500))
        stream = BytesIO()
        Image.fromarray(whole[top : top + 375, left : left + 500]).save(stream, format="JPEG", quality=90)
        files[f"{number:05}"] = stream.getvalue()
    if layout == "tar":
        with tarfile.open(folder / "train-0.tar", "w") as shard:
            for name, content in files.items():
                for ending, part in ((".jpg", content), (".cls", b"%d" % (int(name) % 2))):
                    member = tarfile.TarInfo(name + ending)
                    member.size = len(part)
                    shard.addfile(member, BytesIO(part))
        return str(folder)
    for label in ("0", "1"):
        (folder / "train" / label).mkdir(parents=True)
    for name, content in files.items():
        (folder / "train" / str(int(name) % 2) / f"{name}.jpg").write_bytes(content)
    (folder / "test").symlink_to(folder / "train", target_is_directory=True)
    return str(folder)


@cache
def load_photograph(number: int) -> np.ndarray:
    found: np.ndarray = load_sample_images().images[number]
    return found


def trainer(stack: ExitStack, data: DataSource, images: int, decoded: bool, workers: int) -> Trainer:
    """A run that is ready for its first epoch."""
    method = TRADES(attack=GradientAttack(steps=5, start="normal"))
    asked = {"data": data, "model": partial(SmallCNN, width=8), "method": method, "workers": workers}
    asked |= {"train_images": images, "val_images": 2, "trackers": []}
    split = data.load("train")
    complete = with_data_facts({**DEFAULTS, **asked}, split)
    run = ready(RunFolder(stack.enter_context(tempfile.TemporaryDirectory())), complete, split)
    run.train.images = hold(split, "cpu", limit=None if decoded else 0)
    stack.enter_context(run.prepared())
    return run


class Epochs:
    """Epochs of a run.

    Attributes:
        waited: of each epoch, the share in which the loop waits for its next batch.
        busy: processors that this process and those that decode are busy with, on average.
    """

    def __init__(self, run: Trainer) -> None:
        self.run = run
        self.waited: list[float] = []
        self.busy: list[float] = []

    def __call__(self) -> None:
        began, worked = time.perf_counter(), 0.0
        before = processor_time()
        self.run.begin_epoch()
        for images in self.run.train:
            at = time.perf_counter()
            self.run.train_on(images, False)
            worked += time.perf_counter() - at
            after = processor_time()  # while those that decode are there
        seconds = time.perf_counter() - began
        self.waited.append(1 - worked / seconds)
        self.busy.append((after - before) / seconds)


def processor_time() -> float:
    """Seconds of this process and its children."""
    me = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (me, *me.children(recursive=True)))


def loading(run: Trainer) -> None:
    for _ in run.train:
        pass


def timed(actions: dict[str, Callable[[], None]], repetitions: int) -> dict[str, Timing]:
    return alternate({name: partial(seconds_of, action, "wall") for name, action in actions.items()}, repetitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10 in Parquet files; default Fashion-MNIST")
    parser.add_argument("--photos", choices=("folder", "tar"), help="photographs in this layout")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if given.photos:
            data = images_at(photographs(place, given.images, given.photos), size=64)
        else:
            data = Parquet(given.cifar10 or encoded(place, given.images))
        runs = {name: trainer(stack, data, given.images, *how) for name, how in SIDES.items()}
        epochs = {name: Epochs(run) for name, run in runs.items()}
        steps = timed(dict(epochs), given.repetitions)
        alone = timed({name: partial(loading, run) for name, run in runs.items()}, given.repetitions)
    row: dict[str, Any] = {"images": given.images}
    figures = []
    for name in SIDES:
        waited, busy = (statistics.median(each) for each in (epochs[name].waited, epochs[name].busy))
        row[name] = {"epoch": steps[name].data(), "loader alone": given.images / alone[name].median}
        row[name] |= {"waited": waited, "processors busy": busy}
        times, spread = ratio(steps[name], steps["in memory"])
        target = 1.05 if name == "decoded ahead" else None
        if name != "in memory":
            figures.append(Figure(f"an epoch, {name}, against images in memory", times, target, spread, at_most=True))
            figures.append(Figure(f"waiting for images, {name}", 100 * waited, None, at_most=True, unit=" %"))
    called = Path(__file__).name if given.photos is None else f"loading-photos-{given.photos}.py"
    finish(called, {**vars(given), "cifar10": bool(given.cifar10)}, [row], figures)


if __name__ == "__main__":
    main()
