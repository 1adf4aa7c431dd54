"""Reasons not to believe a figure, found before and after the attacks."""

import warnings

from torch import Tensor, nn

from toughen.errors import ToughenWarning
from toughen.evaluation.verdicts import Verdicts
from toughen.models.build import check_outputs, looks_like_probabilities

PROBABILITIES = (
    "the model's outputs look like probabilities: attacks need logits, and the robust accuracy may be "
    "overestimated; remove the softmax at the model's end"
)
NAN = "the model gives NaN for clean images: they are counted as misclassified"

# AutoAttack's own limit: Square, which sees no gradient, must not break what the gradient attacks left.
_SQUARE_SHARE = 0.002


def model_doubts(model: nn.Module, images: Tensor, num_classes: int) -> list[str]:
    """What the outputs for clean images give away; each is a `ToughenWarning` too, before any long attack.

    Raises:
        InputError: the model cannot take the images, or its outputs do not match the classes.
    """
    logits = check_outputs(model, images, num_classes)
    doubts = []
    if looks_like_probabilities(logits):
        doubts.append(PROBABILITIES)
    if bool(logits.isnan().any()):
        doubts.append(NAN)
    for doubt in doubts:
        warnings.warn(doubt, ToughenWarning, stacklevel=3)
    return doubts


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
