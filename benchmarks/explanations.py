"""Does each paper's explanation hold here? The runs, sweeps and analyses behind docs/explanations.md.

    python benchmarks/explanations.py digits
    python benchmarks/explanations.py cifar10 --cifar10 FOLDER     # CIFAR-10 as Parquet files
    python benchmarks/explanations.py --page                       # only the page's tables, from what is measured

Each method, and each ablation, is trained with three seeds (its own network, order and held-out images); networks of a
seed are shown the same test images by `toughen analyze`. D2R's space of functions is a grid of `toughen sweep`.
Writes results/explanations.json after every step, so that a stopped benchmark goes on where it was. What the figures
are held against, and the rule, are in explanations_claims.py.
"""

import argparse
import copy
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import toughen
from common import RESULTS, machine
from explanations_claims import METHODS, SEEDS, STUDIES, within
from explanations_tables import page_with
from toughen import methods
from toughen.data import DataSource, Digits, Parquet
from toughen.methods import D2R, Method
from toughen.models import SmallCNN
from toughen.run import atomic
from toughen.threat import ThreatModel

FUNCTIONS = ["kl", "reverse_kl", "gap", "js", "mse"]
STEPS = 5
"""Of the inner maxima that have ten as published: half the cost."""
PATH, PAGE = RESULTS / "explanations.json", Path(__file__).parents[1] / "docs" / "explanations.md"
SUBSET = {"train": 3000, "test": 1000}
"""Rows of the CIFAR-10 files, which lie in a random order, that are looked at."""


@dataclass(frozen=True)
class Setup:
    """One data set: what all its runs share, what those of its sweeps do and what varies there; images to analyze."""

    data: DataSource
    settings: dict[str, Any]
    sweep: dict[str, Any]
    grids: list[dict[str, list[Any]]] = field(default_factory=list)
    images: int = 500


def setup_of(name: str, cifar10: Path | None, runs: Path) -> Setup:
    """The settings of a data set's runs."""
    if name == "digits":
        every = {"method.clean": FUNCTIONS, "method.adversarial": FUNCTIONS, "method.collaborative": [True, False]}
        sweep = {"epochs": 8, "batch_size": 64, "val_images": 400, "model": partial(SmallCNN, width=8)}
        return Setup(Digits(), {"epochs": 15}, sweep, [every])
    # 16 x 16 pixels cost a quarter of 32 x 32.
    data = Parquet(str(subset(cifar10, runs / "cifar10-subset")), size=16, name="CIFAR-10 (JPEG), 3,000 at 16 x 16")
    shared = {"threat": ThreatModel("linf", "8/255"), "precision": "bf16", "workers": 0}
    # The whole grid would take three hours: each side of the published pair varies alone.
    sides = [("clean", "adversarial"), ("adversarial", "clean")]
    published = {"clean": "gap", "adversarial": "kl"}
    grids = [
        {f"method.{a}": FUNCTIONS, f"method.{b}": [published[b]], "method.collaborative": [True, False]}
        for a, b in sides
    ]
    own = {**shared, "epochs": 5, "batch_size": 64}
    return Setup(data, {**own, "val_images": 300}, {**own, "val_images": 500}, grids, images=250)


def subset(cifar10: Path | None, folder: Path) -> Path:
    """The first rows of the files, in files of the same form, so that a run need not decode all images."""
    for split, rows in SUBSET.items():
        out = folder / f"{split}-00000-of-00001.parquet"
        if not out.exists():
            if cifar10 is None:
                raise SystemExit(
                    "cifar10: expected --cifar10 FOLDER, with CIFAR-10 as train-*.parquet and test-*.parquet"
                )
            first = sorted(cifar10.glob(f"{split}-*.parquet"))[0]
            with atomic(out) as temporary:
                pq.write_table(pq.read_table(first).slice(0, rows), temporary)
    return folder


def method_of(name: str) -> Method:
    """A method or ablation, with the shorter inner maximum."""
    class_name, options = METHODS[name]
    return shorter(getattr(methods, class_name)(**options))


def shorter(method: Any) -> Any:
    """The method with at most `STEPS` steps of its attack."""
    if hasattr(method, "attack") and method.attack.steps > STEPS:
        method.attack = copy.copy(method.attack)
        method.attack.steps = STEPS
    return method


def folder_of(runs: Path, data: str, method: str, seed: int) -> Path:
    """Where a run lies."""
    return runs / data / f"{method.replace(', ', ' ').replace(' ', '-')}-{seed}"


def train(setup: Setup, data: str, method: str, seed: int, runs: Path) -> None:
    """One run, begun, gone on with, or there already."""
    out = folder_of(runs, data, method, seed)
    common = {"seed": seed, "select": "last", "budget": "none", "trackers": [], "device": "cpu", "resume": "auto"}
    toughen.train(setup.data, SmallCNN, method_of(method), out=str(out), **common, **setup.settings)
    print(f"{data} {method} {seed}: trained", flush=True)


def analyze(data: str, study: str, seed: int, images: int, runs: Path) -> dict[str, Any]:
    """A study's figures for its networks of one seed, and its claims' differences over images."""
    names, only = STUDIES[study]
    found = toughen.analyze(
        [str(folder_of(runs, data, name, seed)) for name in names],
        only=list(only),
        images=images,
        device="cpu",
        out=str(runs / data / f"analysis-{study}-{seed}"),
        overwrite=True,
    ).explanations.insights
    figures = {
        name: {
            f"{explanation}.{figure}": each
            for explanation, networks in found.items()
            for figure, each in networks[folder_of(runs, data, name, seed).name].figures.items()
        }
        for name in names
    }
    values = {name: {figure: each.value for figure, each in own.items()} for name, own in figures.items()}
    return {"figures": values, "within": within(figures, study)}


def sweep(setup: Setup, data: str, seed: int, runs: Path) -> list[dict[str, Any]]:
    """Every pair of functions on held-out images."""
    rows = {}
    for place, grid in enumerate(setup.grids):
        done = toughen.sweep(
            grid,
            search="grid",
            data=setup.data,
            method=shorter(D2R()),
            seed=seed,
            select="last",
            budget="none",
            trackers=[],
            device="cpu",
            out=str(runs / data / f"d2r-{place}-{seed}"),
            said=lambda sentence: print(data, seed, sentence, flush=True),
            **setup.sweep,
        )
        for trial in done.record.trials:
            values = {name.removeprefix("method."): value for name, value in trial.values.items()}
            rows[str(values)] = {**values, "robust": trial.robust, "clean_accuracy": trial.clean}
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=["digits", "cifar10"])
    parser.add_argument("--cifar10", type=Path, help="a folder of CIFAR-10 as Parquet files")
    parser.add_argument("--runs", type=Path, default=Path("runs/explanations"))
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS, help="only these")
    parser.add_argument("--part", choices=["runs", "sweep"], help="only this, for two terminals")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.data and not options.page:
        measure(options)
    PAGE.write_text(page_with(PAGE.read_text(), read()))


def measure(options: argparse.Namespace) -> None:
    """Run what is missing."""
    data, runs = options.data, options.runs
    setup = setup_of(data, options.cifar10, runs)
    if options.part != "sweep":
        for seed in options.seeds:
            for method in METHODS:
                train(setup, data, method, seed, runs)
            for study in STUDIES:
                if f"{data}/{study}/{seed}" not in read()["analyses"]:
                    keep("analyses", f"{data}/{study}/{seed}", analyze(data, study, seed, setup.images, runs))
    if options.part != "runs":
        for seed in options.seeds:
            if f"{data}/{seed}" not in read()["sweeps"]:
                keep("sweeps", f"{data}/{seed}", sweep(setup, data, seed, runs))


def read() -> dict[str, Any]:
    """What is measured."""
    return json.loads(PATH.read_text()) if PATH.exists() else {"analyses": {}, "sweeps": {}}


def keep(part: str, name: str, found: Any) -> None:
    """Add a step's figures; another terminal may have written in between."""
    report = read()
    report[part][name] = found
    report["machine"] = machine()
    with atomic(PATH) as temporary:
        temporary.write_text(json.dumps(report, indent=0) + "\n")


if __name__ == "__main__":
    main()
