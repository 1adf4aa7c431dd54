"""Clean and robust accuracy of each class."""

from typing import Any

from toughen.reports.plots import class_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section

MOST = 20


def build(run: RunData) -> dict[str, Any] | None:
    """All classes in their order, or the worst 20 where there are more; classes without an image are left out."""
    rows = [{**row, "name": str(row["name"])} for row in run.result.get("per_class", []) if row["n"]]
    if not rows:
        return None
    ranked = sorted(rows, key=lambda row: (row["robust"]["accuracy"], row["clean"]["accuracy"], row["label"]))
    shown = rows if len(rows) <= MOST else ranked[:MOST]
    return {
        "plot": class_plot(shown, "classes"),
        "rows": shown,
        "total": len(rows),
        "worst": ranked[0],
        "best": ranked[-1],
        "middle": ranked[len(ranked) // 2],
    }


SECTION = Section("per_class", 50, "Classes", "Accuracy of each class", build)
