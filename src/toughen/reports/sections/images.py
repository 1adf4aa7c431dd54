"""The images of the run: how many of each class, what was left out, what was odd about them."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section

MOST = 20
"""Classes, and files left out, that are shown."""


def build(run: RunData) -> dict[str, Any] | None:
    """A row a class, those with the fewest training images where there are many."""
    if run.images is None or not run.images["splits"]:
        return None
    splits = run.images["splits"]
    first = next(iter(splits.values()))
    names = list(first)
    if len(names) > MOST:
        names = sorted(names, key=lambda name: first[name])[:MOST]
    return {
        "data": run.images,
        "totals": {split: sum(counts.values()) for split, counts in splits.items()},
        "rows": {name: [counts.get(name, 0) for counts in splits.values()] for name in names},
        "classes": len(first),
        "left_out": run.images["left_out"][:MOST],
    }


SECTION = Section("images", 72, "Images", "The images", build)
