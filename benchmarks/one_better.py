"""Is a composition of the parts of published methods better than each of five of them, at the same cost?

    OMP_NUM_THREADS=1 python benchmarks/one_better.py digits     # 20 core-minutes
    OMP_NUM_THREADS=1 python benchmarks/one_better.py fashion    # after digits; 20 core-minutes

Search, by accuracy under PGD-10 on held-out images alone, with a seed that no later run has. The parts are chosen on
digits, from twelve compositions: the eight of a fractional factorial design, in which each of seven parts (PARTS) is in
four and every two parts are together in two, and four of all parts that add something in their mean (FURTHER). Each of
the five has three values of its main weight on digits, half, once and twice the published one; on Fashion-MNIST each
row has three, the composition with the parts that were best on digits. Every candidate has the FLOPs of REFERENCE, as
near as whole epochs allow. Confirmation: the best of each row, with five new seeds, once on the test images; Welch's
test over the seeds, corrected by Holm's method for five, as `toughen study` does it.

Everything lies in runs/one-better and goes on where it was stopped; several processes share a confirmation.
results/one-better-<data>.json has what came of it, and docs/one-better.md shows it.
"""

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import toughen
from common import RESULTS, machine
from composed import Composed, PooledCNN
from one_better_tables import write_page
from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.commands.studies.plan import CHOOSING_SEED
from toughen.data import CutMix, DataSource, Digits, FashionMNIST
from toughen.errors import DivergedError
from toughen.hardware.speed import FlopCounter
from toughen.methods import ARAT, ARR, D2R, ARoW, Method, RegMix
from toughen.methods.method import total
from toughen.models import SmallCNN
from toughen.reports.study.against import against, corrected, verdicts_of
from toughen.reports.study.results import result_of
from toughen.run import atomic
from toughen.settings.description import describe
from toughen.threat import ThreatModel
from toughen.training import AWP, EMA, read_rows

SEEDS = [0, 1, 2, 3, 4]
REFERENCE = ARoW()
RUNS = Path("runs/one-better")

Settings = dict[str, Any]
"""Of `toughen.train`, by name; those of the method by `method` and its name."""

SETUPS: dict[str, tuple[DataSource, int, Settings]] = {
    "digits": (Digits(), 14, {"val_images": 300, "test_images": None, "model": SmallCNN}),
    "fashion": (
        FashionMNIST(),
        4,
        {"train_images": 4000, "val_images": 400, "model": partial(PooledCNN, width=8)},
    ),
}
"""Source, epochs of the reference, and what all runs share."""
SHARED: Settings = {"threat": ThreatModel("linf", 0.1), "trackers": [], "before": "none", "device": "cpu"}

EMA_98, AWP_005 = EMA(decay=0.98), AWP(gamma=0.005, start=1)
PARTS: dict[str, Settings] = {
    "weighting": {"method.weight": "arow"},
    "two-way KL": {"method.beta": 2.0},
    "split BatchNorm": {"method.features": 30.0},
    "guide": {"method.guide": 1.0},
    "AWP": {"awp": AWP_005},
    "EMA": {"average": EMA_98},
    "CutMix": {"cutmix": CutMix()},
}
FURTHER: dict[str, Settings] = {"": {}} | {
    f", attack of {steps} on CE": {"method.attack": GradientAttack(steps=steps), "method.inner": "ce"}
    for steps in (3, 2, 1)
}
"""What the parts that help are tried with: the published attack, and cheaper ones for more epochs."""
ALPHAS = [3.0, 6.0, 12.0]
WEIGHTS: dict[str, tuple[type[Method], str, list[float]]] = {
    "RegMix": (RegMix, "beta", [5.0, 10.0, 20.0]),
    "D2R": (D2R, "adversarial_weight", [15.0, 30.0, 60.0]),
    "ARR": (ARR, "lam", [3.0, 6.0, 12.0]),
    "AR-AT": (ARAT, "gamma", [15.0, 30.0, 60.0]),
    "ARoW": (ARoW, "lam", [1.75, 3.5, 7.0]),
}
"""Half, once and twice the weight that is published (RegMix publishes none: this library's)."""


def design() -> list[list[str]]:
    """The parts in each of the eight compositions of a 2^(7-4) design: three parts vary freely, four as they differ."""
    signs = [(a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c) for a, b, c in product((0, 1), repeat=3)]
    return [[name for name, there in zip(PARTS, row, strict=True) if there] for row in signs]


def effects(scores: dict[tuple[str, ...], float]) -> dict[str, float]:
    """What each part adds in the mean of the design's compositions, largest first."""
    rows = [tuple(parts) for parts in design()]
    found = {
        part: mean(scores[row] for row in rows if part in row) - mean(scores[row] for row in rows if part not in row)
        for part in PARTS
    }
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def method_of(kind: type[Method], settings: Settings) -> Method:
    return kind(**{name.partition(".")[2]: value for name, value in settings.items() if name.startswith("method.")})


def flops(data: str, kind: type[Method], settings: Settings) -> float:
    """Of a training step, for an image of it."""
    source, _, shared = SETUPS[data]
    shape = source.load("train").images.shape
    pixels = torch.rand(8, *shape)
    model = shared["model"](num_classes=10, in_channels=1)
    batch = Batch(pixels, torch.arange(8) % 10, torch.arange(8))
    method = method_of(kind, settings).under(SHARED["threat"])
    method.allocate_memory(8, shape)
    model = method.prepare(model).train()
    with FlopCounter() as counter:
        perturbed = method.perturb(model, batch)
        for _ in range(2 if settings.get("awp") else 1):
            total(method.terms(model, batch, perturbed)).backward()
    return counter.flops / 8


def epochs(data: str, kind: type[Method], settings: Settings) -> int:
    """As many as have the FLOPs of the reference, as near as whole ones allow."""
    return max(1, round(SETUPS[data][1] * flops(data, type(REFERENCE), {}) / flops(data, kind, settings)))


class Search:
    """The search on one data set, which goes on where it was stopped."""

    def __init__(self, data: str) -> None:
        self.data, self.path = data, RUNS / data / "search.json"
        self.found: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def score(self, row: str, name: str, kind: type[Method], settings: Settings) -> float:
        """Accuracy under PGD-10 on held-out images of the epoch that is best by it; 0 where the training diverges."""
        key = f"{row}: {name}"
        if key not in self.found:
            source, _, shared = SETUPS[self.data]
            length, out = epochs(self.data, kind, settings), RUNS / self.data / "candidates" / f"{len(self.found):03}"
            own = {each: value for each, value in settings.items() if not each.startswith("method.")}
            given = {**SHARED, **shared, **own, "method": method_of(kind, settings), "epochs": length, "budget": "none"}
            try:
                trained = toughen.train(source, seed=CHOOSING_SEED, out=str(out), overwrite=out.exists(), **given)
                rows = read_rows(trained.folder.metrics)
                best = max(rows, key=lambda each: each["val_pgd"])
                robust, clean, spent = best["val_pgd"], best["val_clean"], rows[-1]["flops"]
            except DivergedError:
                robust = clean = spent = 0.0
            described = {each: describe(value) for each, value in settings.items()}
            self.found[key] = {
                "settings": described, "epochs": length, "flops": spent, "robust": robust, "clean": clean
            }  # fmt: skip
            with atomic(self.path) as path:
                path.write_text(json.dumps(self.found, indent=1))
            print(f"{key}: {robust:.1%} robust, {clean:.1%} clean, {length} epochs, {spent:.3g} FLOPs", flush=True)
        return float(self.found[key]["robust"])

    def compositions(self) -> tuple[dict[str, float], dict[str, Settings]]:
        """Those of digits, tried: the effects of the parts, and the settings of all by name."""
        tried: dict[str, Settings] = {}

        def score(parts: list[str], beside: str, more: Settings) -> float:
            chosen = {part: settings for part, settings in PARTS.items() if part in parts}
            name = (" + ".join(chosen) or "none") + beside
            tried[name] = {key: value for settings in chosen.values() for key, value in settings.items()} | more
            return self.score("Composed", name, Composed, tried[name])

        found = effects({tuple(parts): score(parts, "", {}) for parts in design()})
        for beside, more in FURTHER.items():
            score([part for part, effect in found.items() if effect > 0], beside, more)
        return found, tried

    def carried(self) -> None:
        """Try digits' best composition with each of ALPHAS."""
        digits = Search("digits")
        if sum(key.startswith("Composed") for key in digits.found) < len(design()) + len(FURTHER):
            raise SystemExit("its parts are chosen on digits: run `one_better.py digits` first")
        name = digits.best("Composed")
        for alpha in ALPHAS:
            settings = digits.compositions()[1][name] | {"method.alpha": alpha}
            self.score("Composed", f"{name}, alpha {alpha:g}", Composed, settings)

    def systems(self) -> None:
        """Try the candidates of each of the five."""
        for row, (kind, weight, values) in WEIGHTS.items():
            for value in values:
                self.score(row, f"{weight} {value:g}", kind, {f"method.{weight}": value})

    def best(self, row: str) -> str:
        """The name of the row's candidate that is best on held-out images."""
        of = {key: each["robust"] for key, each in self.found.items() if key.startswith(f"{row}: ")}
        return max(of, key=lambda key: of[key]).removeprefix(f"{row}: ")


def confirm(data: str, search: Search, chosen: dict[str, str]) -> dict[str, Any]:
    """Train the chosen candidates with the seeds of the confirmation, evaluate them once; figures and tests."""
    source, _, shared = SETUPS[data]
    kinds = {"Composed": f"{Composed.__module__}.Composed"} | {
        row: kind.__name__ for row, (kind, *_) in WEIGHTS.items()
    }
    picked = {row: search.found[f"{row}: {name}"] for row, name in chosen.items()}
    rows = {row: {"method": kinds[row], **each["settings"], "epochs": each["epochs"]} for row, each in picked.items()}
    study = toughen.study(
        rows, {data: {"data": describe(source)}}, seeds=SEEDS, budget="fast", trust=["composed"], said=print,
        out=str(RUNS / data / "study"), **SHARED, **shared,
    )  # fmt: skip
    level = result_of(study.record, data).levels[0]
    of = {row.name: row for row in level.rows}
    composed, found = of["Composed"], json.loads(study.results.read_text())["data"][data]
    held, _ = verdicts_of(level.rows)
    tests = [against(composed, row, held) for row in level.rows if row is not composed]
    corrections = [corrected([getattr(test, name) for test in tests]) for name in ("p_seeds", "p_images")]
    told = {
        test.second: {"difference": test.difference, "interval": test.seeds, "p_seeds": p, "p_images": q}
        for test, p, q in zip(tests, *corrections, strict=True)
    }
    measured = found["levels"][0]
    commands = {row: each["commands"]["run"] for row, each in found["rows"].items()}
    return {"protocol": measured["protocol"], "confirmed": measured["rows"], "tests": told, "commands": commands}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETUPS)
    parser.add_argument("--search", action="store_true", help="stop before the test images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    search = Search(given.data)
    found = search.compositions()[0] if given.data == "digits" else {}
    search.systems()
    if given.data != "digits":
        search.carried()
    chosen = {row: search.best(row) for row in ("Composed", *WEIGHTS)}
    print(chosen)
    if given.search:
        return
    report = {
        "measures": "see one_better.py",
        "machine": machine(),
        "effects": found,
        "search": search.found,
        "chosen": chosen,
        **confirm(given.data, search, chosen),
    }
    with atomic(RESULTS / f"one-better-{given.data}.json") as path:
        path.write_text(json.dumps(report, indent=1) + "\n")
    write_page()


if __name__ == "__main__":
    main()
