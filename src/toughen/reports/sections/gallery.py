"""A few test images, what the attack added to them, and what the model then saw."""

from typing import Any

from toughen.reports.images import LARGEST_SIDE, amplification, amplified, data_uri
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import percent

MOST_BYTES = 600_000
KINDS = (
    ("Worst cases", "the attacks made the model surest of a wrong class"),
    ("Typical cases", "the first evaluated images that an attack broke"),
    ("Held", "the first images that no attack broke"),
)


def build(run: RunData) -> dict[str, Any] | None:
    """The cases of the gallery file by kind, as many as fit into a small page."""
    if not run.gallery or not len(run.gallery["clean"]):
        return None
    clean, adversarial, kinds = (run.gallery[name] for name in ("clean", "adversarial", "kinds"))
    factor = amplification(adversarial - clean)
    cases: dict[int, dict[str, Any]] = {}
    size = 0
    for row in _alternating(kinds.tolist()):
        delta = adversarial[row] - clean[row]
        pictures = [data_uri(clean[row]), data_uri(amplified(delta, factor)), data_uri(adversarial[row])]
        size += sum(map(len, pictures))
        if size > MOST_BYTES and cases:
            break
        cases[row] = _case(run, row, pictures)
    groups = [
        {"title": title, "about": about, "cases": [cases[row] for row in sorted(cases) if kinds[row] == kind]}
        for kind, (title, about) in enumerate(KINDS)
    ]
    height, width = clean.shape[2:]
    shown = [group for group in groups if group["cases"]]
    return {"groups": shown, "factor": factor, "height": height, "width": width, "side": LARGEST_SIDE}


def _alternating(kinds: list[int]) -> list[int]:
    """Rows in an order that takes one of each kind in turn, so that a short list has all kinds.

    >>> _alternating([0, 0, 0, 1, 2])
    [0, 3, 4, 1, 2]
    """
    return sorted(range(len(kinds)), key=lambda row: (kinds[:row].count(kinds[row]), row))


def _case(run: RunData, row: int, pictures: list[str]) -> dict[str, Any]:
    label, before, after = (
        int(run.gallery[name][row]) for name in ("labels", "clean_predictions", "adversarial_predictions")
    )
    outcome = "wrong without attack" if before != label else "fooled" if after != label else "held"
    return {
        "pictures": pictures,
        "truth": run.class_title(label),
        "before": run.class_title(before),
        "after": run.class_title(after),
        "before_sure": _sure(run, "clean_confidences", row),
        "after_sure": _sure(run, "adversarial_confidences", row),
        "before_right": before == label,
        "after_right": after == label,
        "outcome": outcome,
    }


def _sure(run: RunData, name: str, row: int) -> str:
    """The confidence as text; empty where it is NaN."""
    confidence = float(run.gallery[name][row])
    return percent(confidence) if confidence == confidence else ""


SECTION = Section("gallery", 40, "Gallery", "Gallery", build)
