"""`--budget fast` against `--budget standard`: what it costs, and whether its interval holds standard's figure.

    python benchmarks/fast_budget.py                       # 40 networks of digits, an hour on one core
    python benchmarks/fast_budget.py --cifar10 FOLDER      # and three of a subset of CIFAR-10, from Parquet files
    python benchmarks/fast_budget.py --only digits-TRADES  # several processes may share the networks

Networks: every method on digits (15 epochs); two that collapsed (FGSM without a random start and without guards, at a
large radius); broken defences of tests/evaluation/zoo.py around the networks of two methods. 60 test images, 30 for
broken defences, where budget fast is no cheaper, and CIFAR-10. Each is trained once into --runs, and evaluated by both
budgets as `toughen evaluate` does it. A pass is that of one image through the network; a backward pass counts as two
forward ones. The cost is that of the attacks; with it is given that with the self-checks, which attack up to 100 images
whatever the budget, so that they weigh much here and little for 10,000 images. Seconds are of the processor, on one
thread, self-checks included.

`error at full audit` is that of `fast` had it audited all that was left: the share of images that standard leaves and
the fast attacks break, from both tables of verdicts.

Each evaluation is kept in --runs, so a stopped benchmark goes on where it was. Writes fast_budget.json.
"""

import argparse
import json
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import toughen
from common import Figure, finish
from toughen import catalog
from toughen.attacks import FGSM, GradientAttack
from toughen.data import DataSource, Digits, Parquet
from toughen.errors import ToughenWarning
from toughen.evaluation import evaluate_model, load_model
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.progress import Step
from toughen.methods import FGSMRS, PGDAT, TRADES
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.settings.names import import_path
from toughen.training import Guards

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluation"))
import zoo

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
    methods = sorted(catalog.classes("methods"), key=lambda name: name != "Standard")  # HAT, LTD need its network
    found: dict[str, dict[str, Any]] = {f"digits-{name}": {**DIGITS, "method": name} for name in methods}
    found |= {
        f"collapsed-{name}": {**DIGITS, **COLLAPSED, "method": method}
        for name, method in {"FGSM": PGDAT(FGSM()), "FGSMRS": FGSMRS()}.items()
    }
    found |= {
        f"broken: {name}": {
            "inside": f"digits-{'PGDAT' if number % 2 else 'Standard'}",
            "build": build,
            "test_images": 30,
        }
        for number, (name, build) in enumerate(BROKEN.items())
    }
    if cifar10 is not None:
        three = GradientAttack(steps=3, step_size="3.5/255")
        cifar = {"data": Parquet(cifar10), **CIFAR10, "test_images": 30}
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
        given = {key: value for key, value in how.items() if key not in ("data", "test_images", "method")}
        method = how["method"]
        if isinstance(method, str):
            settings = {"standard": str(runs / "digits-Standard")} if method in ("HAT", "LTD") else {}
            method = import_path(catalog.classes("methods")[method].path)(**settings)
        asked = {"seed": 0, "budget": "none", "select": "last", "trackers": [], "overwrite": True}
        toughen.train(how["data"], SmallCNN, method, out=str(folder.path), **asked, **given)
    threat = folder.read_config()["threat"]
    return load_model(folder), toughen.ThreatModel(threat["norm"], threat["eps"])


def evaluated(network: nn.Module, data: DataSource, n: int | None, threat: Any, budget: str) -> dict[str, Any]:
    """One evaluation, with its cost."""
    Counted.passes, began, images = 0, time.process_time(), data.load("test")
    begun: list[tuple[str, int]] = []

    def notice(step: Step) -> None:
        begun.append((step.attack, Counted.passes))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToughenWarning)  # they are in the result too
        evaluation = evaluate_model(
            Counted(network), images, threat, budget=budget, test_images=n, device="cpu", progress=notice
        )
    result = evaluation.result
    of_steps: dict[str, int] = {}
    for (name, before), (_, after) in pairwise(begun):
        of_steps[name] = of_steps.get(name, 0) + after - before
    return {
        "passes": sum(passes for name, passes in of_steps.items() if name != "self_checks"),
        "passes with self-checks": Counted.passes,
        "seconds": round(time.process_time() - began, 1),
        "robust_accuracy": result["robust_accuracy"],
        "figures": {name: figure["held"] for name, figure in result["figures"].items()},
        "audit": result.get("audit"),
        "doubts": [reason["name"] for reason in reasons(result)],
        "held": "".join("01"[held] for held in evaluation.verdicts.robust().astype(int)),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The networks as Markdown."""
    lines = [
        "| network | n | standard | fast | 95 % interval | AutoAttack saw | cost | with checks | in seconds | marked |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        standard, fast = (row[budget] for budget in BUDGETS)
        low, high = fast["audit"]["interval"]
        each = ("passes", "passes with self-checks", "seconds")
        cost = " | ".join(f"1/{standard[kind] / fast[kind]:.1f}" for kind in each)
        lines.append(
            f"| {name} | {standard['robust_accuracy']['n']} | {standard['robust_accuracy']['accuracy']:.1%} "
            f"| {fast['robust_accuracy']['accuracy']:.1%} | {100 * low:.1f} to {100 * high:.1f} "
            f"| {fast['audit']['audited']} of {fast['audit']['left']} | {cost} "
            f"| {', '.join(fast['doubts']) or '-'} |"
        )
    return "\n".join(lines)


def figures(rows: dict[str, dict[str, Any]]) -> list[Figure]:
    """What the targets are of."""
    sound = {name: row for name, row in rows.items() if name.startswith(("digits", "cifar10"))}
    cost = {name: row["fast"]["passes"] / row["standard"]["passes"] for name, row in rows.items()}
    # Both budgets go on with the same further attacks where they doubt, so that both figures count them.
    truth = {name: row["standard"]["robust_accuracy"]["accuracy"] for name, row in rows.items()}
    ends = {name: row["fast"]["audit"]["interval"] for name, row in rows.items()}
    held = {name: low - 1e-9 <= truth[name] <= high + 1e-9 for name, (low, high) in ends.items()}
    holds = statistics.mean(held.values()), statistics.mean(held[name] for name in sound)
    errors = []
    for row in sound.values():
        broken, left = ("".join(row[budget]["held"]) for budget in ("fast", "standard"))
        errors.append(sum(one == "0" and other == "1" for one, other in zip(broken, left, strict=True)) / len(left))
    unmarked = [name for name in rows if ends[name][0] > truth[name] + 1e-9 and not rows[name]["fast"]["doubts"]]
    return [
        Figure(
            "fast budget: cost in passes, median of all networks", statistics.median(cost.values()), 0.2, None, True
        ),
        Figure("fast budget: of the sound ones", statistics.median(cost[name] for name in sound), 0.2, None, True),
        Figure("fast budget: intervals that hold standard's figure", 100 * holds[0], 95, unit="%"),
        Figure("fast budget: of the sound ones", 100 * holds[1], 95, unit="%"),
        Figure(
            "fast budget: error at full audit, mean of the sound ones",
            100 * statistics.mean(errors),
            0.2,
            None,
            True,
            " points",
        ),
        Figure("fast budget: broken or collapsed ones too high and not marked", len(unmarked), 0, None, True, ""),
    ]


def main() -> int:
    """Run what is missing, write the JSON, print table and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder with CIFAR-10 as Parquet files in the Hugging Face layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/fast-budget"))
    parser.add_argument("--only", nargs="*", help="names of networks; without a name nothing is run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = networks(arguments.cifar10)
    places = {name: arguments.runs / (re.sub(r"[^\w-]+", "-", name) + ".json") for name in known}
    for name in known if arguments.only is None else arguments.only:
        how, row = known[name], json.loads(places[name].read_text()) if places[name].exists() else {}
        for budget in BUDGETS:
            if budget not in row:
                inside = known[how["inside"]] if "inside" in how else how
                network, threat = trained(how.get("inside", name), inside, arguments.runs)
                network = how.get("build", nn.Sequential)(network)
                row[budget] = evaluated(network, inside["data"], how.get("test_images", 60), threat, budget)
                places[name].write_text(json.dumps(row))
                print(name, budget, row[budget]["robust_accuracy"], file=sys.stderr, flush=True)
    rows = {name: json.loads(place.read_text()) for name, place in places.items() if place.exists()}
    rows = {name: row for name, row in rows.items() if set(row) == set(BUDGETS)}
    finish(
        Path(__file__).name,
        {"cifar10": bool(arguments.cifar10)},
        [{"network": name, **row} for name, row in rows.items()],
        figures(rows),
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
