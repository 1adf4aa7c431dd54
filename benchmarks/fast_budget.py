"""`--budget fast` against `--budget standard`: what it costs, and whether its interval holds AutoAttack's figure.

    python benchmarks/fast_budget.py                       # 27 networks of digits, about three hours on one core
    python benchmarks/fast_budget.py --cifar10 FOLDER      # and three of a subset of CIFAR-10, from Parquet files
    python benchmarks/fast_budget.py --only digits-TRADES

Networks: every method on digits (15 epochs); two that collapsed (FGSM without a random start and without guards, at a
large radius); the broken defences of tests/evaluation/zoo.py around the networks of two methods. Each is trained once
into --runs, and evaluated by both budgets as `toughen evaluate` does it, self-checks included. A pass is that of one
image through the network; a backward pass counts as two forward ones. Seconds are of the processor, on one thread.

`error at full audit` is that of `fast` had it audited all that was left: the share of images that standard leaves and
the fast attacks break, from both tables of verdicts.

Writes results/fast_budget.json after every evaluation, so a stopped benchmark goes on where it was.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import toughen
from common import RESULTS, machine
from toughen import catalog
from toughen.attacks import FGSM, GradientAttack
from toughen.data import DataSource, Digits, Parquet
from toughen.errors import ToughenWarning
from toughen.evaluation import evaluate_model, load_model
from toughen.evaluation.checks.doubts import reasons
from toughen.methods import FGSMRS, PGDAT, TRADES
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.settings.names import import_path
from toughen.training import Guards

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluation"))
import zoo

PATH = RESULTS / "fast_budget.json"
BUDGETS = ("standard", "fast")
DIGITS = {"data": Digits(), "epochs": 15}
COLLAPSED = {"guards": Guards(collapse=False, overfitting=False), "threat": toughen.ThreatModel("linf", 0.3)}
CIFAR10 = {"train_images": 4000, "epochs": 8, "threat": toughen.ThreatModel("linf", "8/255")}
BROKEN: dict[str, Callable[[nn.Module], nn.Module]] = {
    "huge temperature": zoo.HugeTemperature,
    "clipped logits": zoo.Clipped,
    "quantised": zoo.Quantised,
    "false gradient": zoo.FalseGradient,
    "no gradient": zoo.Undifferentiable,
    "ripples": zoo.Rippled,
    "rippled logits": zoo.RippledLogits,
    "half gradient": zoo.HalfGradient,
}


class Counted(nn.Module):
    """A network that counts the images of its passes, forward and backward, copies included."""

    passes = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        Counted.passes += len(images)
        logits = self.network(images)
        if logits.requires_grad:
            logits.register_hook(partial(_backward, len(images)))
        return logits


def _backward(images: int, gradient: Tensor) -> None:
    Counted.passes += 2 * images


def networks(cifar10: str | None) -> dict[str, dict[str, Any]]:
    """By name: what each is trained with, and what it is put into."""
    methods = sorted(catalog.classes("methods"), key=lambda name: name != "Standard")  # HAT asks Standard's network
    found: dict[str, dict[str, Any]] = {f"digits-{name}": {**DIGITS, "method": name} for name in methods}
    found |= {
        f"collapsed-{name}": {**DIGITS, **COLLAPSED, "method": method}
        for name, method in {"FGSM": PGDAT(FGSM()), "FGSMRS": FGSMRS()}.items()
    }
    found |= {
        f"broken: {name}": {"inside": f"digits-{'PGDAT' if number % 2 else 'Standard'}", "build": build}
        for number, (name, build) in enumerate(BROKEN.items())
    }
    if cifar10 is not None:
        three = GradientAttack(steps=3, step_size="3.5/255")
        cifar = {"data": Parquet(cifar10), **CIFAR10, "test_images": 100}
        found |= {
            "cifar10-TRADES": {**cifar, "method": TRADES(attack=three)},
            "cifar10-FGSMRS": {**cifar, "method": FGSMRS()},
            "cifar10-Standard": {**cifar, "method": "Standard"},
        }
    return found


def trained(name: str, how: dict[str, Any], runs: Path) -> tuple[nn.Module, toughen.ThreatModel]:
    """The network, trained where it is not there yet, and what it was trained to withstand."""
    folder = RunFolder(runs / name)
    if not folder.model.exists():
        given = {key: value for key, value in how.items() if key not in ("data", "test_images", "method", "only")}
        method = how["method"]
        if isinstance(method, str):
            settings = {"standard": str(runs / "digits-Standard")} if method == "HAT" else {}
            method = import_path(catalog.classes("methods")[method].path)(**settings)
        asked = {"seed": 0, "budget": "none", "select": "last", "trackers": [], "overwrite": True}
        toughen.train(how["data"], SmallCNN, method, out=str(folder.path), **asked, **given)
    threat = folder.read_config()["threat"]
    return load_model(folder), toughen.ThreatModel(threat["norm"], threat["eps"])


def evaluated(network: nn.Module, data: DataSource, n: int | None, threat: Any, budget: str) -> dict[str, Any]:
    """One evaluation, with its cost."""
    Counted.passes, began, images = 0, time.process_time(), data.load("test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToughenWarning)  # they are in the result too
        evaluation = evaluate_model(Counted(network), images, threat, budget=budget, test_images=n, device="cpu")
    result = evaluation.result
    return {
        "passes": Counted.passes,
        "seconds": round(time.process_time() - began, 1),
        "robust_accuracy": result["robust_accuracy"],
        "figures": {name: figure["held"] for name, figure in result["figures"].items()},
        "audit": result.get("audit"),
        "doubts": [reason["name"] for reason in reasons(result)],
        "held": "".join("01"[held] for held in evaluation.verdicts.robust().astype(int)),
    }


def main() -> int:
    """Run what is missing, write the JSON, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder with CIFAR-10 as Parquet files in the Hugging Face layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/fast-budget"))
    parser.add_argument("--only", nargs="+", help="names of networks")
    parser.add_argument("--budget", choices=BUDGETS, help="one side only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = json.loads(PATH.read_text()) if PATH.exists() else {"script": Path(__file__).name, "rows": {}}
    known = networks(arguments.cifar10)
    for name in arguments.only or known:
        how = known[name]
        for budget in [arguments.budget] if arguments.budget else BUDGETS:
            if budget in report["rows"].setdefault(name, {}):
                continue
            inside = known[how["inside"]] if "inside" in how else how
            network, threat = trained(how.get("inside", name), inside, arguments.runs)
            network = how.get("build", nn.Sequential)(network)
            row = evaluated(network, inside["data"], inside.get("test_images", 200), threat, budget)
            report["rows"][name][budget] = row
            report["machine"] = machine()
            PATH.write_text(json.dumps(report, indent=1) + "\n")
            print(name, budget, row["robust_accuracy"]["accuracy"], f"{row['seconds']} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
