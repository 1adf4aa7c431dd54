"""Calibration: how often predictions of each confidence are right."""

from typing import Any

from toughen.evaluation.statistics.intervals import wilson
from toughen.reports.plots import reliability_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title


def build(run: RunData) -> dict[str, Any] | None:
    """The reliability curve and the expected calibration error, clean and adversarial."""
    facts = run.result.get("calibration") or {}
    known = {kind: facts[kind] for kind in ("clean", "adversarial") if facts.get(kind)}
    if not known:
        return None
    titles = {kind: _title(kind, curve) for kind, curve in known.items()}
    return {
        "plot": reliability_plot(
            {titles[kind]: _with_intervals(curve) for kind, curve in known.items()}, "calibration"
        ),
        "curves": [
            {"kind": kind, "title": titles[kind], "ece": curve["ece"], "n": curve["n"], **_means(curve["bins"])}
            for kind, curve in known.items()
        ],
    }


def _title(kind: str, curve: dict[str, Any]) -> str:
    return f"{kind} ({attack_title(curve['attack'])})" if "attack" in curve else kind


def _with_intervals(curve: dict[str, Any]) -> list[dict[str, Any]]:
    """The bins that have images."""
    bins = [bin for bin in curve["bins"] if bin["n"]]
    return [{**bin, "interval": wilson(round(bin["accuracy"] * bin["n"]), bin["n"])} for bin in bins]


def _means(bins: list[dict[str, Any]]) -> dict[str, float]:
    """Mean confidence and accuracy over the images of all bins."""
    n = sum(bin["n"] for bin in bins)
    return {key: sum(bin[key] * bin["n"] for bin in bins if bin["n"]) / n for key in ("confidence", "accuracy") if n}


SECTION = Section("calibration", 60, "Calibration", "Calibration", build)
