"""Robust accuracy under AutoAttack of every method, on one data set, network, attack budget and seed.

    python benchmarks/methods.py digits            # about 20 minutes on two cores
    python benchmarks/methods.py fashion           # a subset of Fashion-MNIST; downloads it, or set TOUGHEN_DATA
    python benchmarks/methods.py digits --only ARoW ARAT

Each method is one `toughen.train` with its default settings, into runs/methods-<data>/<method>. Writes
benchmarks/results/methods-<data>.json after every run, so a stopped benchmark goes on where it was, and prints
the table of docs/results.md.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import toughen
from toughen import catalog
from toughen.data import DataSource, Digits, FashionMNIST
from toughen.models import SmallCNN
from toughen.settings.description import describe
from toughen.settings.names import import_path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setup:
    """One data set and how long a method trains on it."""

    data: DataSource
    settings: dict[str, Any]
    command: str


SETUPS = {
    "digits": Setup(Digits(), {}, "toughen train --method {method}{settings}"),
    "fashion": Setup(
        FashionMNIST(),
        {"train_images": 4000, "epochs": 10, "test_images": 200, "threat": toughen.ThreatModel("linf", 0.1)},
        "toughen train --data fashion_mnist --train_images 4000 --epochs 10 --test_images 200 --threat.eps 0.1 "
        "--method {method}{settings}",
    ),
}


def run(name: str, setup: Setup, seed: int, runs: Path) -> dict[str, Any]:
    """Train and evaluate one method; its figures."""
    # HAT and LTD ask a network that was trained without an adversary: the one of this table.
    settings = {"standard": str(runs / "Standard")} if name in ("HAT", "LTD") else {}
    method = import_path(catalog.classes("methods")[name].path)(**settings)
    began = time.perf_counter()
    trained = toughen.train(
        setup.data, SmallCNN, method, seed=seed, out=str(runs / name), overwrite=True, trackers=[], **setup.settings
    )
    assert trained.evaluation is not None
    result = trained.evaluation.result
    options = "".join(f" --method.{key} {value}" for key, value in settings.items())
    return {
        "method": name,
        "command": setup.command.format(method=name, settings=options) + (f" --seed {seed}" if seed else ""),
        "settings": describe(method)["init_args"],
        "figures": result["figures"],
        "robust_accuracy": result["robust_accuracy"],
        "threat": result["threat"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(report: dict[str, Any]) -> str:
    """The runs as Markdown, best first."""
    rows = sorted(report["runs"].values(), key=lambda row: -row["robust_accuracy"]["accuracy"])
    lines = ["| method | clean | AutoAttack | 95 % interval | n | command |", "|---|---|---|---|---|---|"]
    for row in rows:
        robust, clean = row["robust_accuracy"], row["figures"]["clean"]
        low, high = robust["interval"]
        lines.append(
            f"| {row['method']} | {clean['accuracy']:.1%} | {robust['accuracy']:.1%} | {low:.1%} to {high:.1%} "
            f"| {robust['n']} | `{row['command']}` |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run what is missing, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETUPS)
    parser.add_argument("--only", nargs="+", choices=sorted(catalog.classes("methods")))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"methods-{arguments.data}.json"
    report = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    report["machine"] = {
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    names = arguments.only or sorted(catalog.classes("methods"), key=lambda name: name != "Standard")
    for name in names:
        if name in report["runs"] and not arguments.only:
            continue
        row = run(name, SETUPS[arguments.data], arguments.seed, Path("runs") / f"methods-{arguments.data}")
        print(f"{name}: {row['robust_accuracy']['accuracy']:.1%} in {row['seconds']} s", flush=True)
        report["runs"][name] = row
        path.write_text(json.dumps(report, indent=1))
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
