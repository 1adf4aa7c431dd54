import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toughen.data import epoch_order, split_validation
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
    train, validation = split_validation(n, fraction, seed)
    assert sorted(train.tolist() + validation.tolist()) == list(range(n))
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())
    assert len(train) >= 1
    assert len(validation) >= 1
    assert abs(len(validation) - n * fraction) <= 1


def test_a_number_of_images_is_held_out() -> None:
    train, validation = split_validation(100, 7, seed=0)
    assert (len(train), len(validation)) == (93, 7)
    assert not torch.equal(validation, split_validation(100, 7, seed=1)[1])
    assert torch.equal(validation, split_validation(100, 7, seed=0)[1])


@pytest.mark.parametrize("size", [0.0, 1.0, -0.1, 1.5, 0, 10, -3, float("nan")])
def test_sizes_out_of_range(size: float) -> None:
    with pytest.raises(InputError, match=r"validation: expected a fraction in \(0, 1\) .* or 1 \.\. 9 of 10"):
        split_validation(10, size, seed=0)


def test_too_few_images() -> None:
    with pytest.raises(InputError, match="at least 2 training images"):
        split_validation(1, 0.5, seed=0)
