"""Figure 3: is robustness sold for speed?

    python benchmarks/fast_against_plain.py                       # digits and Fashion-MNIST, two hours on two cores
    python benchmarks/fast_against_plain.py --only digits         # all its 360 test images, 10 seeds
    python benchmarks/fast_against_plain.py --only wrapped        # three networks with computed weights, 5 seeds
    python benchmarks/fast_against_plain.py --cifar10 FOLDER      # CIFAR-10 too, from Parquet files

Trains with TRADES on the fast path (`toughen train` as it is: folded replica, channels_last, bf16 or TF32 where the
hardware is faster in it) and on the plain one (`--fast false`), with the same seeds, and attacks both with AutoAttack
(`--precision auto`) on the same images, with the weights of the last epoch. The difference of an image is the mean
over the seeds of (held after fast training) - (held after plain training); the figure is the mean over the images,
its 95 % interval that of a mean of independent images, for these runs. The target: the interval lies within 1 point
of 0. Beside it, for information, the interval over the seeds (t distribution), which is wide with three of them.

Digits also for three networks whose convolutions' weights are computed (spectral norm, weight norm, pruning;
wrapped.py), with 10 epochs of PGD-AT, 5 steps, and `--budget quick`: a replica that folds BatchNorm into such a weight
attacks another network, which once cost 26 to 45 points.

Writes fast_against_plain.json, or with --only fast_against_plain-<only>.json; the runs stay in --runs,
so a stopped benchmark goes on where it was; delete them after a change.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t

import toughen
from common import Figure, finish
from robust_models import DEBIAN, DebianFashionMNIST
from toughen.attacks import PGD
from toughen.data import DataSource, Digits, FashionMNIST, Parquet
from toughen.evaluation import Evaluation
from toughen.methods import PGDAT, TRADES
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.threat import ThreatModel
from wrapped import Pruned, SpectralNorm, WeightNorm

PATHS = {"fast": True, "plain": False}
SEEDS = {"digits": 10, "fashion": 3, "cifar10": 3, "wrapped": 5}
"""Digits has so few test images that three seeds tell its difference to 1.2 points only."""
SUBSET = {"train_images": 4000, "epochs": 15, "test_images": 1500}
WRAPPED = {"method": PGDAT(PGD(steps=5)), "epochs": 10, "test_images": None, "budget": "quick"}
"""An error in kind costs tens of points, so that a quick attack shows it."""
FASHION = DebianFashionMNIST() if DEBIAN.exists() else FashionMNIST()
DATA: dict[str, tuple[DataSource, dict[str, Any]]] = {
    "digits": (Digits(), {"test_images": None}),
    "fashion": (FASHION, {**SUBSET, "threat": ThreatModel("linf", 0.1)}),
    **{
        f"digits, {network.__name__}": (Digits(), {**WRAPPED, "model": network})
        for network in (SpectralNorm, WeightNorm, Pruned)
    },
}


def verdicts(data: DataSource, seed: int, path: str, settings: dict[str, Any], runs: Path) -> NDArray[np.bool_]:
    """Which test images hold after one training; reads those of a run that is there already."""
    out = RunFolder(runs / f"{path}-{seed}")
    if out.result.exists():
        return Evaluation.load(out).verdicts.robust()
    # The last weights: which epoch is best on a few held-out images is a draw that would hide what is compared.
    asked = {"seed": seed, "fast": PATHS[path], "select": "last", "trackers": [], "budget": "none"}
    there = {"model": SmallCNN, "method": TRADES(), **settings}
    attack = {"test_images": there.pop("test_images"), "budget": there.pop("budget", "standard")}
    toughen.train(data, out=str(out.path), overwrite=True, **asked, **there)
    evaluated = toughen.evaluate(str(out.path), precision="auto", checks=False, **attack)
    return evaluated.verdicts.robust()


def compare(name: str, held: dict[str, list[NDArray[np.bool_]]]) -> tuple[dict[str, Any], Figure]:
    """The difference between the two paths with its intervals, in points."""
    fast, plain = (np.stack(held[path]).astype(float) for path in PATHS)
    of_images = (fast - plain).mean(axis=0)
    of_seeds = (fast - plain).mean(axis=1)
    mean, images, seeds = float(of_images.mean()), len(of_images), len(of_seeds)
    reach = 1.96 * of_images.std(ddof=1) / np.sqrt(images)
    low, high = float(mean - reach), float(mean + reach)
    between = float(t.ppf(0.975, seeds - 1) * of_seeds.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else float("nan")
    row = {
        "data": name,
        "images": images,
        "seeds": seeds,
        "accuracy": {path: np.stack(held[path]).mean(axis=1).tolist() for path in PATHS},
        "difference": mean,
        "interval": [low, high],
        "interval over seeds": [mean - between, mean + between],
    }
    print(
        f"{name}: fast {fast.mean():.1%}, plain {plain.mean():.1%} robust ({images} images, {seeds} seeds); "
        f"difference {100 * mean:+.2f} points, {100 * low:+.2f} to {100 * high:+.2f}",
        file=sys.stderr,
    )
    title = f"{name}: robust accuracy, fast - plain, farther end of its interval"
    return row, Figure(title, 100 * max(abs(low), abs(high)), 1.0, at_most=True, unit=" points")


def main() -> int:
    """Run what is missing, write the JSON, print a line a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, help="of every row; default 10 for digits, 5 with computed weights, 3 for the others"
    )
    parser.add_argument("--cifar10", help="folder with CIFAR-10 as Parquet files in the Hugging Face layout")
    parser.add_argument("--only", choices=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/fast-against-plain"))
    arguments = parser.parse_args()
    setups = dict(DATA)
    if arguments.cifar10:
        setups["cifar10"] = (Parquet(arguments.cifar10), SUBSET)
    rows, figures = [], []
    for name, (data, settings) in setups.items():
        kind = "wrapped" if "model" in settings else name
        if arguments.only not in (None, kind):
            continue
        held: dict[str, list[NDArray[np.bool_]]] = {path: [] for path in PATHS}
        for seed in range(arguments.seeds or SEEDS[kind]):
            for path in PATHS:
                held[path].append(verdicts(data, seed, path, settings, arguments.runs / name))
        row, figure = compare(name, held)
        rows.append(row)
        figures.append(figure)
    stem = "fast_against_plain" + (f"-{arguments.only}" if arguments.only else "")
    finish(f"{stem}.py", {"threads": torch.get_num_threads()}, rows, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
