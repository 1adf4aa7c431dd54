import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toughen.data import epoch_order, order_by_class, sample_by_class, split_validation
from toughen.errors import InputError

SEEDS = st.integers(-(2**40), 2**40)


@given(st.integers(0, 300), SEEDS, st.integers(0, 10_000))
def test_every_order_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(n, seed, epoch).tolist()) == list(range(n))


def test_orders_depend_on_seed_and_epoch_alone() -> None:
    state = torch.get_rng_state()
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25  # in particular (seed, epoch + 1) is not (seed + 1, epoch)
    assert torch.equal(epoch_order(50, 1, 2), epoch_order(50, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(2, 500), st.floats(0.001, 0.999), SEEDS)
def test_a_fraction_is_held_out(n: int, fraction: float, seed: int) -> None:
    train, validation = split_validation(torch.arange(n) % 7, fraction, seed)
    assert sorted(train.tolist() + validation.tolist()) == list(range(n))
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())
    assert len(train) >= 1
    assert len(validation) >= 1
    assert abs(len(validation) - n * fraction) <= 1


def test_a_number_of_images_is_held_out() -> None:
    train, validation = split_validation(torch.arange(100) % 3, 7, seed=0)
    assert (len(train), len(validation)) == (93, 7)
    assert not torch.equal(validation, split_validation(torch.arange(100) % 3, 7, seed=1)[1])
    assert torch.equal(validation, split_validation(torch.arange(100) % 3, 7, seed=0)[1])


@pytest.mark.parametrize("size", [0.0, 1.0, -0.1, 1.5, 0, 10, -3, float("nan")])
def test_sizes_out_of_range(size: float) -> None:
    with pytest.raises(InputError, match=r"validation: expected a fraction in \(0, 1\) .* or 1 \.\. 9 of 10"):
        split_validation(torch.zeros(10), size, seed=0)


def test_too_few_images() -> None:
    with pytest.raises(InputError, match="at least 2 training images"):
        split_validation(torch.zeros(1), 0.5, seed=0)


SORTED = torch.arange(7).repeat_interleave(torch.tensor([300, 1, 40, 0, 7, 152, 100]))


@given(st.integers(1, 600), SEEDS)
def test_every_beginning_has_its_share_of_each_class(m: int, seed: int) -> None:
    """Of sorted labels, a class of n_c of the 600 has m n_c / 600 of the first m images; see below for the margin."""
    found = SORTED[order_by_class(SORTED, seed)[:m]].bincount(minlength=7)
    expected = m * SORTED.bincount(minlength=7) / 600
    # A place is cut at the m-th of 600 uniform strata, not at m / 600: the sum over the classes strays by a few.
    assert (found - expected).abs().max() < 4
    assert found.sum() == m


@given(st.lists(st.integers(0, 5), max_size=60), SEEDS)
def test_an_order_by_class_is_a_permutation_and_depends_on_the_seed_alone(labels: list[int], seed: int) -> None:
    order = order_by_class(torch.tensor(labels, dtype=torch.int64), seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert torch.equal(order, order_by_class(torch.tensor(labels, dtype=torch.int64), seed))


def test_any_image_of_a_class_may_be_drawn_equally_often() -> None:
    """Of 20 images of one class among 100, 5 are drawn: each in a quarter of 2,000 draws, sd 19.4."""
    labels = torch.arange(5).repeat_interleave(20)
    drawn = torch.stack([order_by_class(labels, seed)[:25] for seed in range(2000)])
    assert (drawn.flatten().bincount(minlength=100) - 500).abs().max() < 4.5 * 19.4


def test_samples_of_one_seed_are_nested_and_sorted() -> None:
    few, many = sample_by_class(SORTED, 20, seed=4), sample_by_class(SORTED, 200, seed=4)
    assert set(few.tolist()) < set(many.tolist())
    assert few.tolist() == sorted(few.tolist())
    assert not torch.equal(few, sample_by_class(SORTED, 20, seed=5))


def test_the_validation_images_are_like_the_training_set() -> None:
    train, validation = split_validation(SORTED, 60, seed=0)
    assert SORTED[validation].bincount(minlength=7).tolist() == pytest.approx([30, 0.1, 4, 0, 0.7, 15.2, 10], abs=2)
    assert len(train) == 540
