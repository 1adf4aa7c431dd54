"""Classes that the attacked images are taken for."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title

MOST_CLASSES = 20
MOST_PAIRS = 10


def build(run: RunData) -> dict[str, Any] | None:
    """The confusions that happen most, and the whole table where it can be read."""
    facts = run.result.get("confusion")
    if not facts or not any(map(sum, facts["counts"])):
        return None
    counts = facts["counts"]
    totals = [sum(row) for row in counts]
    pairs = [
        {"truth": run.class_title(i), "taken_for": run.class_title(j), "count": count, "share": count / totals[i]}
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    pairs.sort(key=lambda pair: -pair["count"])
    rows = [
        {"title": run.class_title(i), "cells": [(count, count / max(total, 1)) for count in row]}
        for i, (row, total) in enumerate(zip(counts, totals, strict=True))
    ]
    return {
        "attack": attack_title(facts["attack"]),
        "pairs": pairs[:MOST_PAIRS],
        "kinds": len(pairs),
        "rows": rows if len(rows) <= MOST_CLASSES else [],
        "n": sum(totals),
        "nan": facts.get("nan_predictions", 0),
    }


SECTION = Section("confusion", 55, "Confusion", "Confusion under attack", build)
