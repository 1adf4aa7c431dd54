from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughen.errors import InputError
from toughen.numbers import as_float, as_text

properties = settings(derandomize=True, max_examples=100, deadline=None, database=None)


@properties
@given(numerator=st.integers(-1000, 1000), denominator=st.integers(1, 1000))
def test_fraction_is_the_nearest_float(numerator: int, denominator: int) -> None:
    expected = float(Fraction(numerator, denominator))
    assert as_float(f"{numerator}/{denominator}", "eps") == expected
    assert as_float(f" {numerator} / {denominator} ", "eps") == expected


@properties
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_number_and_its_text_mean_the_same(value: float) -> None:
    assert as_float(value, "eps") == as_float(str(value), "eps") == value


@pytest.mark.parametrize("value", ["eight", "", "8/", "/255", "8/255/2", "8/0", "8:255", None, [8], 10**400])
def test_not_a_number(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        as_float(value, "threat.eps")
    assert str(caught.value) == f"threat.eps: expected a number such as 0.03 or 8/255, got {value!r}"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "-inf", "nan", "1e999", "nan/255"])
def test_not_finite(value: float | str) -> None:
    with pytest.raises(InputError) as caught:
        as_float(value, "attack.step_size")
    assert str(caught.value) == f"attack.step_size: expected a finite number, got {value!r}"


@pytest.mark.parametrize("k", range(1, 255))
def test_a_255th_reads_back(k: int) -> None:
    text = as_text(k / 255)
    assert as_float(text, "eps") == pytest.approx(k / 255, rel=5e-4)
    if k < 128:
        assert as_float(text, "eps") == k / 255


@properties
@given(value=st.floats(1e-6, 1e3))
def test_text_keeps_four_digits(value: float) -> None:
    assert as_float(as_text(value), "eps") == pytest.approx(value, rel=6e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (1 / 255, "1/255"),
        (51 / 255, "0.2"),
        (0.5, "0.5"),
        (128 / 255, "0.502"),
        (0.5 / 255, "0.001961"),
        (0.031, "0.031"),
        (12.0, "12"),
        (0.0, "0"),
    ],
)
def test_text_as_papers_write_it(value: float, text: str) -> None:
    assert as_text(value) == text
