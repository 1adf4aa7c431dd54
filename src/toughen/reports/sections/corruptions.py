"""Noise, blur, weather and the like, which nobody chose to harm the model."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section


def build(run: RunData) -> dict[str, Any] | None:
    """A row a corruption with a cell a severity, the worst corruption first."""
    facts = run.result.get("analyses", {}).get("corruptions")
    if not facts or not facts["rows"]:
        return None
    severities = sorted({row["severity"] for row in facts["rows"]})
    table: dict[str, dict[int, dict[str, Any]]] = {}
    for row in facts["rows"]:
        table.setdefault(row["corruption"], {})[row["severity"]] = row
    rows = [
        {
            "title": name.replace("_", " "),
            "cells": [cells.get(severity) for severity in severities],
            "mean": sum(cell["accuracy"] for cell in cells.values()) / len(cells),
        }
        for name, cells in table.items()
    ]
    return {
        "rows": sorted(rows, key=lambda row: row["mean"]),
        "severities": severities,
        "mean": {"interval": None, **facts["mean"]},
        "clean": run.result["figures"]["clean"],
        "n": facts["rows"][0]["n"],
        "library": facts["library"],
        "enlarged": facts.get("enlarged", 1),
    }


SECTION = Section("corruptions", 70, "Corruptions", "Common corruptions", build)
