"""The expected calibration error, against a plain loop and torchmetrics."""

import numpy as np
import pytest

from toughen.evaluation import Evaluation
from toughen.evaluation.statistics.calibration import expected_calibration_error


def plain(confidences: list[float], right: list[bool]) -> float:
    """Guo et al.'s formula, bin by bin."""
    error = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        own = [i for i, c in enumerate(confidences) if low <= c < high or (c == 1 and number == 14)]
        if own:
            accuracy = sum(right[i] for i in own) / len(own)
            confidence = sum(confidences[i] for i in own) / len(own)
            error += len(own) / len(confidences) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("n", [1, 50, 1000])
def test_against_a_plain_loop(n: int) -> None:
    generator = np.random.default_rng(n)
    confidences = generator.beta(3, 1, size=n)
    right = generator.random(n) < confidences**2
    facts = expected_calibration_error(confidences, right)
    assert facts["ece"] == pytest.approx(plain(confidences.tolist(), right.tolist()), abs=1e-9)
    assert facts["ece"] == pytest.approx(
        sum(b["n"] / n * abs(b["accuracy"] - b["confidence"]) for b in facts["bins"] if b["n"])
    )
    assert sum(b["n"] for b in facts["bins"]) == facts["n"] == n
    for b in facts["bins"]:
        own = (confidences >= b["low"]) & (confidences < b["high"])
        assert b["n"] == own.sum()
        assert (b["accuracy"] is None) == (b["confidence"] is None) == (b["n"] == 0)


@pytest.mark.parametrize(("n", "period", "expected"), [(100, 3, 0.28049504950495047), (1000, 7, 0.3781958041958042)])
def test_against_torchmetrics(n: int, period: int, expected: float) -> None:
    """Values that torchmetrics 1.9.0 gave, by `binary_calibration_error(confidences, right, n_bins=15, norm="l1")`."""
    places = np.arange(1, n + 1)
    facts = expected_calibration_error(places / (n + 1), places**2 % period > 0)
    assert facts["ece"] == pytest.approx(expected, abs=1e-15)


def test_full_confidence_shares_the_last_bin() -> None:
    """0.95 and wrong, 1 and right: one bin of accuracy 1/2 and confidence 0.975."""
    facts = expected_calibration_error(np.array([0.95, 1.0]), np.array([False, True]))
    assert facts["ece"] == pytest.approx(0.475)
    assert facts["bins"][14]["n"] == 2


def test_unknown_confidences_are_left_out_and_counted() -> None:
    facts = expected_calibration_error(np.array([0.5, np.nan, np.nan]), np.array([True, False, True]))
    assert (facts["ece"], facts["n"], facts["left_out"]) == (0.5, 1, 2)
    assert expected_calibration_error(np.array([np.nan]), np.array([False])) is None


def test_a_result_has_both_curves(standard: Evaluation) -> None:
    """Against the rows of the verdict table."""
    facts, rows = standard.result["calibration"], standard.verdicts.table.to_pylist()
    attack = facts["adversarial"]["attack"]
    assert attack == standard.result["confusion"]["attack"]
    for name, curve in (("clean", facts["clean"]), (attack, facts["adversarial"])):
        confidences = [row[f"{name}_confidence"] for row in rows]
        right = [row[f"{name}_prediction"] == row["label"] for row in rows]
        assert curve["ece"] == pytest.approx(plain(confidences, right), abs=1e-6)
        assert curve["n"] == 20
    assert facts["adversarial"]["ece"] > facts["clean"]["ece"]
