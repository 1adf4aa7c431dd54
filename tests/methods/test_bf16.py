"""In bf16 every method's inner maximum reaches what it reaches in fp32."""

from collections.abc import Callable
from functools import cache

import pytest

from bf16_attacks import FORMS, METHODS, Attack, Form, digits, gains, weights
from toughen import catalog


@pytest.fixture(scope="module")
def attack() -> Callable[[str, Form], Attack]:
    """Of a method, by name, on one network and batch; made once."""
    batch = digits()
    trained = weights(batch)
    return cache(lambda name, form: Attack(METHODS[name], trained, batch, form))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_the_inner_maximum_is_that_of_fp32(name: str, form: Form, attack: Callable[[str, Form], Attack]) -> None:
    """At least 99.5 %, but for what a mean over so few images is uncertain by."""
    possible, reached = gains(attack(name, "fp32"), attack(name, form), digits())
    over = (reached - 0.995 * possible).double()
    assert possible.mean() > 0
    assert over.mean() > -2 * over.std() / len(over) ** 0.5


def test_no_method_is_missing() -> None:
    """But for those without an inner maximum: Free-AT climbs by the gradients of its losses."""
    assert {name.split(",")[0] for name in METHODS} == set(catalog.classes("methods")) - {"Standard", "FreeAT"}
