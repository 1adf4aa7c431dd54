"""Figures of each class, and what the images of each are taken for under attack."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toughen.evaluation.records.verdicts import Verdicts, figure
from toughen.models.inference import NO_PREDICTION

MOST_CLASSES = 250
"""Up to so many classes the confusion is counted; beyond, the table would outgrow the rest of the result."""


def per_class(verdicts: Verdicts, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Clean and robust figures of every class that occurs among the images.

    Args:
        verdicts: of an evaluation.
        classes: names, in the order of the labels.

    Returns:
        list: label, name, n, and clean and robust, each a `figure`, in the order of the labels.
    """
    labels, clean, robust = verdicts.table["label"].to_numpy(), verdicts.held("clean"), verdicts.robust()
    rows = []
    for label in np.unique(labels).tolist():
        own = labels == label
        about = {"label": label, "name": classes[label], "n": int(own.sum())}
        rows.append({**about, "clean": figure(clean[own]), "robust": figure(robust[own])})
    return rows


def strongest(verdicts: Verdicts) -> str | None:
    """The attack that left the fewest images among those that attacked all of them; None where none did.

    Of several that left as many, the last.
    """
    whole = [name for name in verdicts.attacks if verdicts.table[f"{name}_prediction"].null_count == 0]
    return min(reversed(whole), key=lambda name: int(verdicts.held(name).sum()), default=None)


def confusion(verdicts: Verdicts, classes: int) -> dict[str, Any] | None:
    """How often images of each class are taken for each class under the `strongest` attack.

    An image that was misclassified before the attack counts with its clean prediction.

    Args:
        verdicts: of an evaluation.
        classes: how many there are.

    Returns:
        dict: attack; `counts[true][predicted]`; nan_predictions, the images whose logits held a NaN, which are in no
            count. None where no attack saw all images, or there are more than `MOST_CLASSES` classes.
    """
    attack = strongest(verdicts)
    if attack is None or classes > MOST_CLASSES:
        return None
    labels = verdicts.table["label"].to_numpy()
    predictions = verdicts.table[f"{attack}_prediction"].to_numpy()
    known = predictions != NO_PREDICTION
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels[known], predictions[known]), 1)
    return {"attack": attack, "counts": counts.tolist(), "nan_predictions": int((~known).sum())}
