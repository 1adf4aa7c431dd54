"""A few test images, what the attack added to them, and what the model then saw."""

from typing import Any

from toughen.reports.images import LARGEST_SIDE, amplification, amplified, data_uri
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section

MOST_CASES = 12
MOST_BYTES = 600_000


def build(run: RunData) -> dict[str, Any] | None:
    """The first cases of the gallery file that fit into a small page."""
    if not run.gallery or not len(run.gallery["clean"]):
        return None
    clean, adversarial = run.gallery["clean"][:MOST_CASES], run.gallery["adversarial"][:MOST_CASES]
    factor = amplification(adversarial - clean)
    cases: list[dict[str, Any]] = []
    size = 0
    for row in range(len(clean)):
        delta = adversarial[row] - clean[row]
        pictures = [data_uri(clean[row]), data_uri(amplified(delta, factor)), data_uri(adversarial[row])]
        size += sum(map(len, pictures))
        if size > MOST_BYTES and cases:
            break
        cases.append(_case(run, row, pictures))
    height, width = clean.shape[2:]
    return {"cases": cases, "factor": factor, "height": height, "width": width, "side": LARGEST_SIDE}


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
        "before_right": before == label,
        "after_right": after == label,
        "outcome": outcome,
    }


SECTION = Section("gallery", 40, "Gallery", build)
