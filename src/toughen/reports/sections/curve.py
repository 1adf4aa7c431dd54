"""Accuracy against the radius of the attack."""

from typing import Any

from toughen.reports.plots import curve_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title


def build(run: RunData) -> dict[str, Any] | None:
    """The curve, its points and the area below it."""
    facts = run.result.get("analyses", {}).get("eps_curve")
    if not facts or not facts["points"]:
        return None
    points, eps = facts["points"], float(run.result["threat"]["eps"])
    return {
        "plot": curve_plot(points, eps, facts["norm"], "curve"),
        "rows": points,
        "attack": attack_title(facts["attack"]),
        "norm": facts["norm"],
        "largest": points[-1]["eps"],
        "area": facts.get("area"),
        "area_interval": facts.get("area_interval"),
    }


SECTION = Section("curve", 25, "Curve", "Accuracy against the radius", build)
