"""A published network hardened from its weights, against the same network trained robustly from scratch at equal cost.

    pip download --no-deps -d . cifar-10-model==7.4.0
    python benchmarks/fine_tuning.py --wheel cifar_10_model-7.4.0-py3-none-any.whl --cifar10 FOLDER   # Parquet files

Both sides take the same method, batches, schedule and number of steps, so that their FLOPs are equal. The hardened
one's eps grows over the first half of its run, as is usual where a network begins without any robustness. Each side
takes its own learning rate, the one of two whose short run is better on held-out images. `--only hardened` and
`--only scratch` train one side, for two terminals. Stopped, the same command goes on. Writes results/fine_tuning.json.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import toughen
from cifar_10_model import CNN, published_weights
from common import RESULTS, machine
from toughen.data import Parquet
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.methods import NFGSM
from toughen.run import RunFolder
from toughen.training import SGD, GrowingEps
from toughen.training.log import read_rows

SIDES = ("hardened", "scratch")
RATES = (0.03, 0.1)
THREAT = toughen.ThreatModel("linf", "8/255")


def settings(side: str, weights: Path, cifar10: str) -> dict[str, Any]:
    """What `toughen.train` takes. The published network sees [0, 1]; from scratch it gets the data's normalisation."""
    published = {"init": str(weights), "normalize": False, "attack_eps": GrowingEps(until=0.5)}
    start = published if side == "hardened" else {}
    return {
        "data": Parquet(cifar10, name="CIFAR-10 (JPEG)"),
        "model": CNN,
        "method": NFGSM(),
        "threat": THREAT,
        "precision": "bf16",
        "val_images": 500,
        "budget": "none",
        "trackers": [],
        "resume": "auto",
        **start,
    }


def train(side: str, weights: Path, options: argparse.Namespace) -> None:
    """Short runs that choose the learning rate, then the run."""
    common = settings(side, weights, options.cifar10)
    short = {"epochs": 1, "train_images": options.short_images}
    for rate in RATES:
        out = options.runs / f"{side}-short-{rate:g}"
        toughen.train(**common, **short, optimizer=partial(SGD, lr=rate), out=str(out))
    best = max(RATES, key=lambda rate: score(last(options.runs / f"{side}-short-{rate:g}")))
    toughen.train(
        **common, epochs=options.epochs, optimizer=partial(SGD, lr=best), out=str(options.runs / side), select="last"
    )


def score(row: dict[str, Any]) -> float:
    """What short runs are chosen by: robust accuracy on held-out images."""
    return float(row["val_pgd"])


def last(run: Path) -> dict[str, Any]:
    """The last epoch's row."""
    return read_rows(RunFolder(run).metrics)[-1]


def cost(run: Path) -> dict[str, float]:
    """What a run's training steps took."""
    rows = read_rows(RunFolder(run).metrics)
    return {
        "flops": sum(row["flops_per_second"] * row["seconds"] for row in rows),
        "images": sum(row["images_per_second"] * row["seconds"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
    }


def evaluate(name: str, weights: Path, options: argparse.Namespace) -> Any:
    """AutoAttack on the first images of a stratified order of the test set."""
    settings: dict[str, Any] = {"budget": "standard", "test_images": options.test_images, "trust": ["cifar_10_model"]}
    if name in SIDES:
        return toughen.evaluate(str(options.runs / name), **settings)
    model = partial(CNN, relu_on_logits=name == "as published")
    return toughen.evaluate(
        model=model,
        weights=str(weights),
        data=Parquet(options.cifar10, name="CIFAR-10 (JPEG)"),
        threat=THREAT,
        out=str(options.runs / name.replace(" ", "-")),
        **settings,
    )


def report(options: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Figures of all networks and the paired tests of the hardened one."""
    evaluations = {name: evaluate(name, weights, options) for name in ("as published", "untreated", *SIDES)}
    right = {
        "autoattack": {name: each.verdicts.robust() for name, each in evaluations.items()},
        "clean": {name: each.verdicts.held("clean") for name, each in evaluations.items()},
    }
    rows = [
        {
            "network": name,
            "clean": each.result["figures"]["clean"],
            "autoattack": each.result["robust_accuracy"],
            "doubts": each.result.get("doubts"),
            **({"learning_rate": RunFolder(options.runs / name).read_config()["optimizer"]} if name in SIDES else {}),
            **({"cost": cost(options.runs / name)} if name in SIDES else {}),
        }
        for name, each in evaluations.items()
    ]
    tests = {
        name: {
            figure: {
                "only_hardened": int((each["hardened"] & ~each[name]).sum()),
                "only_other": int((each[name] & ~each["hardened"]).sum()),
                "mcnemar_p": mcnemar(each["hardened"], each[name]),
            }
            for figure, each in right.items()
        }
        for name in ("untreated", "scratch")
    }
    short = {
        f"{side} {rate:g}": {
            name: last(options.runs / f"{side}-short-{rate:g}")[name] for name in ("val_clean", "val_pgd")
        }
        for side in SIDES
        for rate in RATES
    }
    return {"rows": rows, "hardened_against": tests, "short_runs": short}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the package cifar-10-model 7.4.0")
    parser.add_argument("--cifar10", required=True, help="folder of CIFAR-10 in Parquet files")
    parser.add_argument("--runs", type=Path, default=Path("runs/fine-tuning"))
    parser.add_argument("--only", choices=[*SIDES, "evaluation"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--short-images", type=int, default=6000)
    parser.add_argument("--test-images", type=int, default=500)
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    weights = options.runs / "published.safetensors"
    if not weights.exists():
        save_file(published_weights(options.wheel), weights)
    for side in SIDES:
        if options.only in (None, side):
            train(side, weights, options)
    if options.only in (None, "evaluation"):
        facts = {"script": "fine_tuning", "machine": machine(), "threads": torch.get_num_threads()}
        asked = {
            name: value for name, value in vars(options).items() if name in ("epochs", "short_images", "test_images")
        }
        RESULTS.mkdir(exist_ok=True)
        found = {**facts, "arguments": asked, **report(options, weights)}
        (RESULTS / "fine_tuning.json").write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found["rows"], indent=1))


if __name__ == "__main__":
    main()
