"""Reasons not to believe a figure that are found in more than one place, or in the finished table."""

from toughen.evaluation.records.verdicts import Verdicts

PROBABILITIES = (
    "the model's outputs look like probabilities: attacks need logits, and the robust accuracy may be "
    "overestimated; remove the softmax at the model's end"
)
NAN = "the model gives NaN for clean images: they are counted as misclassified"

# AutoAttack's own limit: Square, which sees no gradient, must not break what the gradient attacks left.
_SQUARE_SHARE = 0.002


def verdict_doubts(verdicts: Verdicts) -> list[str]:
    """What the finished table gives away."""
    doubts = []
    for name in verdicts.attacks:
        if f"{name}_broken_by" not in verdicts.table.column_names:
            continue
        components = verdicts.table[f"{name}_broken_by"].to_pylist()
        count = components.count("square")
        if count > _SQUARE_SHARE * len(components):
            doubts.append(
                f"Square, which uses no gradient, broke {count} of {len(components)} images that the "
                f"gradient attacks of {name} had left: gradients may be masked"
            )
    return doubts
