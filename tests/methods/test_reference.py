"""Each method's arithmetic against the values of its authors' code, to 1e-6 in float64."""

import pytest
import torch

from toughen.methods.arr import output_distance
from toughen.methods.method import Terms
from toughen.methods.trades import trades_terms


def means(terms: Terms) -> dict[str, float]:
    return {name: term.values.mean().item() for name, term in terms.items()}


def close(expected: float) -> object:
    return pytest.approx(expected, abs=1e-6, rel=0)


def test_trades(reference: dict) -> None:
    terms = trades_terms(reference["clean"], reference["adv"], reference["labels"], beta=6.0)
    assert means(terms) == {name: close(value) for name, value in reference["expected"]["trades"].items()}
    assert [term.weight for term in terms.values()] == [1.0, 6.0]


@pytest.mark.parametrize(
    ("name", "distance", "on"),
    [
        ("kl_clean_to_adv", "kl", "probabilities"),
        ("l2_logits", "l2", "logits"),
        ("l2_probabilities", "l2", "probabilities"),
    ],
)
def test_arr(reference: dict, name: str, distance: str, on: str) -> None:
    values = output_distance(reference["clean"], reference["adv"], distance, on, q=2.0)
    assert values.mean().item() == close(reference["expected"]["arr"][name])


def test_arr_lq_with_order_two_is_l2_and_one_is_l1(reference: dict) -> None:
    clean, adversarial = reference["clean"], reference["adv"]
    torch.testing.assert_close(
        output_distance(clean, adversarial, "lq", "logits", q=2.0),
        output_distance(clean, adversarial, "l2", "logits", q=7.0),
    )
    torch.testing.assert_close(
        output_distance(clean, adversarial, "l1", "probabilities", q=7.0),
        (clean.softmax(1) - adversarial.softmax(1)).abs().sum(1),
    )
