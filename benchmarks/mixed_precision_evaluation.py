"""Does a search in bf16 give the verdicts of one in fp32, and how much sooner?

Measures, on one model and the same test images: the share of images with the same verdict (per attack and under all
together), the difference of robust accuracy, the images that had to be attacked again in fp32, and the ratio of
processor time (wall time on a GPU). The model is trained here with TRADES, so that a good part of the images holds.

    python benchmarks/mixed_precision_evaluation.py                                    # Fashion-MNIST, Debian's package
    python benchmarks/mixed_precision_evaluation.py --cifar10 path/to/parquet/folder   # CIFAR-10, Hugging Face layout

Writes results/mixed_precision_evaluation-<data>-<device>.json: hardware, versions, seeds, n, results.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import toughen
from toughen.data import Parquet
from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.evaluation import Evaluation, Step, evaluate_model, wilson
from toughen.methods import TRADES
from toughen.models import ResNet18, SmallCNN
from toughen.threat import ThreatModel

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


class DebianFashionMNIST(DataSource):
    """Fashion-MNIST as Debian's package dataset-fashion-mnist lays it down."""

    def __init__(self, folder: str = str(DEBIAN)) -> None:
        self.folder = folder

    def load(self, split: Split) -> ImageSet:
        stem = "train" if split == "train" else "t10k"
        with gzip.open(Path(self.folder) / f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).copy()
        with gzip.open(Path(self.folder) / f"{stem}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        classes = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
        return ImageSet(Decoded(torch.from_numpy(pixels)), torch.from_numpy(labels), classes, "Fashion-MNIST")


def agreement(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """Share of equal verdicts with its 95 % interval, and in which direction the others differ."""
    found = {}
    for name in (*first.verdicts.attacks, "all together"):
        a, b = (e.verdicts.robust() if name == "all together" else e.verdicts.held(name) for e in (first, second))
        same = int((a == b).sum())
        found[name] = {
            "agreement": same / len(a),
            "interval": wilson(same, len(a)),
            "held_only_in_fp32": int((a & ~b).sum()),
            "held_only_in_bf16": int((~a & b).sum()),
            "accuracy_fp32": float(a.mean()),
            "accuracy_bf16": float(b.mean()),
        }
    return found


def timed(*arguments: Any, **settings: Any) -> tuple[Evaluation, float]:
    """An evaluation, with its processor time, or its wall time where a GPU does the work."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    evaluation = evaluate_model(*arguments, **settings)
    return evaluation, clock() - started


def say(step: Step) -> None:
    left = "" if step.left is None else f", about {step.left:.0f} s left"
    print(f"{step.done}/{step.total} {step.attack}{left}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10 in Parquet files; default Fashion-MNIST")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--train_images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--budget", default="standard")
    parser.add_argument("--batch_size", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.cifar10:
        data: DataSource = Parquet(given.cifar10)
        network, threat, name = partial(ResNet18, width=given.width), ThreatModel("linf", "8/255"), "cifar10-jpeg"
    else:
        data, name = DebianFashionMNIST(), "fashion-mnist"
        network, threat = partial(SmallCNN, width=given.width), ThreatModel("linf", 0.1)
    with tempfile.TemporaryDirectory() as folder:
        trained = toughen.train(
            data=data,
            model=network,
            method=TRADES(),
            threat=threat,
            epochs=given.epochs,
            train_images=given.train_images,
            precision="fp32",
            trackers=[],
            budget="none",
            seed=given.seed,
            out=f"{folder}/run",
        )
        model = trained.model
    images = data.load("test")
    settings = {
        "budget": given.budget,
        "test_images": given.images,
        "sample": "random",
        "batch_size": given.batch_size,
        "seed": given.seed,
        "progress": say,
    }
    exact, exact_time = timed(model, images, threat, precision="fp32", **settings)
    mixed, mixed_time = timed(model, images, threat, precision="bf16", **settings)
    seconds = {"fp32": exact.result["seconds"], "bf16": mixed.result["seconds"]}
    result = {
        "script": Path(__file__).name,
        "arguments": vars(given) | {"cifar10": bool(given.cifar10)},
        "data": "CIFAR-10 (JPEG)" if given.cifar10 else "Fashion-MNIST",
        "model": {**exact.result["model"], "width": given.width, "trained": f"TRADES, {given.epochs} epochs"},
        "threat": exact.result["threat"],
        "n": given.images,
        "clean_accuracy": exact.result["figures"]["clean"],
        "verdicts": agreement(exact, mixed),
        "attacked_again_in_fp32": mixed.result["repeated"],
        "seconds": seconds,
        "time": {"fp32": exact_time, "bf16": mixed_time, "clock": "wall" if torch.cuda.is_available() else "processor"},
        "speed_ratio": exact_time / mixed_time,
        "versions": exact.result["versions"],
        "created": exact.result["created"],
    }
    device = exact.result["versions"]["device"].partition(":")[0]
    out = Path(__file__).parent / "results" / f"{Path(__file__).stem}-{name}-{device}.json"
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        json.dumps(
            {k: result[k] for k in ("verdicts", "attacked_again_in_fp32", "seconds", "time", "speed_ratio")}, indent=2
        )
    )
    print(f"written: {out}")


if __name__ == "__main__":
    main()
