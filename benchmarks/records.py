"""What single runs withstand, and what their training took: results/record-<name>.json.

    toughen train --config cifar10-2pflop --data parquet --data.path FOLDER --budget none --out runs/cifar10-2pflop
    toughen evaluate runs/cifar10-2pflop --precision auto --test_images 1000
    python benchmarks/records.py cifar10-2pflop=runs/cifar10-2pflop    # what the run found, into its JSON
    python benchmarks/results_page.py                                  # and onto docs/results.md

The JSON has the run's log (metrics.csv), and of each evaluation what its result.json says. The page has the marks
`<!-- record NAME -->` and `<!-- end -->`.
"""

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import RESULTS, machine
from pages import machine_line
from toughen.reports.text import attack_title, bounds, duration, percent
from toughen.run import RunFolder

KEPT = ("complete", "planned", "robust_accuracy", "figures", "threat", "checks")
Report = Mapping[str, Any]


def take_in(name: str, folder: Path, results: Path) -> Path:
    """Copy a run's log and its evaluations' figures, with the machine."""
    run = RunFolder(folder)
    with run.metrics.open() as file:
        log = [{column: float(value) for column, value in row.items() if value} for row in csv.DictReader(file)]
    evaluations = {}
    for path in sorted(folder.glob("evaluations/*/result.json")):
        found = json.loads(path.read_text())
        evaluations[path.parent.name] = {fact: found[fact] for fact in KEPT if fact in found}
    report = {"record": name, "machine": machine(), "log": log, "evaluations": evaluations}
    path = results / f"record-{name}.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return path


def table(report: Report) -> str:
    """The cost of the training, and a row an attack of each evaluation."""
    log, last = report["log"], report["log"][-1]
    took = duration(sum(row["seconds"] for row in log))
    texts = [
        machine_line(report["machine"]),
        f"{last['flops']:.2e} floating-point operations of training ({len(log)} epochs, {took}); on held-out images, "
        f"last epoch: {percent(last['val_clean'])} clean, {percent(last['val_pgd'])} under PGD-10.",
    ]
    for name, found in report["evaluations"].items():
        lines = [f"| `{name.rpartition('-')[0]}` | accuracy | 95 % interval | correct |", "|---|---|---|---|"]
        figures = {**found["figures"], "all together": found["robust_accuracy"]}
        lines += [
            f"| {attack_title(attack)} | {percent(each['accuracy'])} | {bounds(each['interval'])} | "
            f"{each['held']:,}/{each['n']:,} |"
            for attack, each in figures.items()
        ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, folder = argument.partition("=")
        print(take_in(name, Path(folder), RESULTS))
