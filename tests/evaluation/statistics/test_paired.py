"""Two methods on the same images, against all signs counted one by one, McNemar's test and scipy's interval."""

from itertools import product

import numpy as np
import pytest
import scipy

from toughen.errors import InputError
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.evaluation.statistics.paired import paired_over_images
from toughen.evaluation.statistics.seeds import detectable

DRAWN = np.random.default_rng(1)


@pytest.mark.parametrize(("seeds", "others"), [(1, 1), (3, 3), (3, 2)])
def test_the_p_value_counts_all_signs(seeds: int, others: int) -> None:
    drawn = np.random.default_rng(seeds + others)
    first, second = drawn.random((seeds, 11)) < 0.8, drawn.random((others, 11)) < 0.4
    each = first.mean(0) - second.mean(0)
    sums = [abs(float(np.dot(signs, each))) for signs in product([1, -1], repeat=11)]
    expected = np.mean([found >= abs(each.sum()) - 1e-9 for found in sums])
    assert 0.0005 < expected < 1
    assert paired_over_images(first, second).p == pytest.approx(expected)


def test_with_one_seed_it_is_mcnemars_test() -> None:
    first, second = DRAWN.random(400) < 0.6, DRAWN.random(400) < 0.5
    assert paired_over_images(first, second).p == pytest.approx(mcnemar(first, second))


def test_the_interval_is_students_over_images() -> None:
    first, second = DRAWN.random((3, 500)) < 0.6, DRAWN.random((3, 500)) < 0.55
    found = paired_over_images(first, second)
    expected = scipy.stats.ttest_1samp(first.mean(0) - second.mean(0), 0).confidence_interval()
    assert found.difference == pytest.approx(first.mean() - second.mean())
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_copies_of_a_network_say_no_more_than_one() -> None:
    first, second = DRAWN.random((1, 300)) < 0.6, DRAWN.random((1, 300)) < 0.5
    assert paired_over_images(np.repeat(first, 5, 0), np.repeat(second, 5, 0)) == paired_over_images(first, second)


def test_images_of_different_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="networks x images"):
        paired_over_images(np.ones((2, 5), bool), np.ones((2, 6), bool))


@pytest.mark.parametrize(("n", "tests"), [(2, 1), (3, 1), (3, 9), (5, 1), (5, 435)])
def test_the_detectable_difference_is_found_in_four_of_five_studies(n: int, tests: int) -> None:
    shift = detectable(0.0001, n, tests)
    assert shift is not None
    first, second = DRAWN.normal(0, 0.0001, (6000, n)), DRAWN.normal(shift, 0.0001, (6000, n))
    found = scipy.stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < 0.05 / tests
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_where_nothing_spreads_no_difference_is_found() -> None:
    assert detectable(0.0, 3) is None
