"""Accuracy under each attack, as a plot and as a table."""

from typing import Any

import pyarrow.compute as pc

from toughen.reports.plots import attack_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title, threat_short


def build(run: RunData) -> dict[str, Any] | None:
    """A row an attack with its figure and time, and the largest perturbation that any of them used."""
    if not run.result:
        return None
    figures = run.result["figures"]
    planned = run.result.get("planned", {}).get("attacks", [])
    rows = [
        {
            "title": attack_title(attack),
            **figure,
            "seconds": run.result.get("seconds", {}).get(attack),
        }
        for attack, figure in figures.items()
    ]
    return {
        "plot": attack_plot(figures, "attacks"),
        "rows": rows,
        "missing": [attack_title(attack) for attack in planned if attack not in figures],
        "robust": run.result["robust_accuracy"],
        "threat": threat_short(run.result["threat"]),
        "largest": _largest_change(run),
    }


def _largest_change(run: RunData) -> float | None:
    """Largest perturbation of an image that an attack broke, in the threat model's norm; None where there is none."""
    if run.verdicts is None:
        return None
    sizes = [pc.max(run.verdicts.table[f"{attack}_norm"]).as_py() for attack in run.verdicts.attacks]
    return max((size for size in sizes if size is not None), default=None)


SECTION = Section("attacks", 20, "Attacks", "Accuracy under attack", build)
