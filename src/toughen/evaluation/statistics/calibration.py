"""Whether a prediction of 80 % confidence is right 80 % of the time."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.statistics.per_class import strongest

BINS = 15
"""Of equal width, as in Guo et al. (2017)."""


def calibration(verdicts: Verdicts) -> dict[str, Any]:
    """Calibration on the clean images, and on those of the `strongest` attack.

    Returns:
        dict: clean and adversarial, each as `expected_calibration_error` gives it, or None where nothing is known;
            adversarial also names the attack.
    """
    attack = strongest(verdicts)
    adversarial = None if attack is None else _of(verdicts, attack)
    if adversarial is not None:
        adversarial = {"attack": attack, **adversarial}
    return {"clean": _of(verdicts, "clean"), "adversarial": adversarial}


def _of(verdicts: Verdicts, name: str) -> dict[str, Any] | None:
    table = verdicts.table
    right = table[f"{name}_prediction"].to_numpy() == table["label"].to_numpy()
    return expected_calibration_error(table[f"{name}_confidence"].to_numpy(), right)


def expected_calibration_error(confidences: NDArray[Any], right: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Expected calibration error (Guo et al. 2017), with the bins of a reliability diagram.

    `ECE = sum_b n_b / n |accuracy_b - confidence_b|` over 15 bins [low, high) of the predicted class's probability;
    a confidence of 1 belongs to the last bin.

    Args:
        confidences: (n,), in [0, 1]; a NaN leaves the image out.
        right: bool (n,), whether the prediction is the label.

    Returns:
        dict: ece; n, the images that count; left_out, those of unknown confidence; bins with low, high, n, and the
            mean confidence and accuracy, None in an empty bin. None where no confidence is known.

    >>> facts = expected_calibration_error(np.array([0.9, 0.9, 0.6, np.nan]), np.array([True, False, True, True]))
    >>> round(facts["ece"], 4), facts["n"], facts["left_out"]
    (0.4, 3, 1)
    """
    known = ~np.isnan(confidences)
    if not known.any():
        return None
    sure, truth = confidences[known].astype(np.float64), right[known]
    edges = np.linspace(0, 1, BINS + 1)
    places = np.minimum(np.digitize(sure, edges), BINS) - 1
    bins: list[dict[str, Any]] = []
    for place, (low, high) in enumerate(pairwise(edges.tolist())):
        own = places == place
        means = [float(values[own].mean()) if own.any() else None for values in (sure, truth)]
        bins.append({"low": low, "high": high, "n": int(own.sum()), "confidence": means[0], "accuracy": means[1]})
    ece = sum(each["n"] / len(sure) * abs(each["accuracy"] - each["confidence"]) for each in bins if each["n"])
    return {"ece": ece, "n": len(sure), "left_out": int((~known).sum()), "bins": bins}
