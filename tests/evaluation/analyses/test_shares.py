"""The interval of a mean of shares."""

import numpy as np
import pytest

from toughen.evaluation.analyses.shares import mean_share


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 20), (200, 200)])
def test_for_verdicts_it_is_agresti_and_coulls(successes: int, n: int) -> None:
    """p' = (x + 2) / (n + 4), p' -+ 1.96 sqrt(p' (1 - p') / (n + 4))."""
    share = (successes + 2) / (n + 4)
    half = 1.959963985 * (share * (1 - share) / (n + 4)) ** 0.5
    facts = mean_share([1.0] * successes + [0.0] * (n - successes))
    assert facts["accuracy"] == successes / n
    assert facts["interval"] == pytest.approx([max(0, share - half), min(1, share + half)])


@pytest.mark.parametrize("n", [20, 200])
def test_it_covers_the_true_mean(n: int) -> None:
    """The mean of shares drawn from 0, 1/3, 2/3 and 1 with three sets of odds, 2,000 times each."""
    generator = np.random.default_rng(0)
    for odds in ([0.9, 0.05, 0.03, 0.02], [0.25, 0.25, 0.25, 0.25], [0.05, 0.1, 0.25, 0.6]):
        values = np.array([0, 1 / 3, 2 / 3, 1])
        drawn = generator.choice(values, p=odds, size=(2000, n))
        intervals = np.array([mean_share(row)["interval"] for row in drawn])
        truth = float(values @ odds)
        covered = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()
        assert covered > 0.935


def test_where_all_images_are_alike_it_is_not_empty() -> None:
    low, high = mean_share([0.25] * 50)["interval"]
    assert low < 0.25 < high
