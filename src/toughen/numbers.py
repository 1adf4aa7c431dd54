"""Numbers as this field writes them: `8/255`."""

import math
from fractions import Fraction

from toughen.errors import InputError

Number = float | str
"""A number, or its text: `0.1`, `"0.1"` or `"8/255"`. The command line, YAML and Python accept all three."""


def as_float(value: Number, name: str) -> float:
    """Read a number that may be written as a fraction; `name` is the argument's name for the error.

    >>> as_float("8/255", "eps") == 8 / 255
    True
    >>> as_float("eight", "eps")
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: eps: expected a number such as 0.03 or 8/255, got 'eight'
    """
    try:
        if isinstance(value, str) and "/" in value:
            numerator, denominator = value.split("/")
            number = float(numerator) / float(denominator)
        else:
            number = float(value)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        raise InputError(f"{name}: expected a number such as 0.03 or 8/255, got {value!r}") from None
    if not math.isfinite(number):
        raise InputError(f"{name}: expected a finite number, got {value!r}")
    return number


def as_text(value: float) -> str:
    """Write a pixel distance the way papers do: a 255th where it is one, else at most four digits.

    >>> as_text(8 / 255), as_text(0.2), as_text(0.031)
    ('8/255', '0.2', '0.031')
    """
    scaled = Fraction(value * 255).limit_denominator(4)
    round_decimal = float(f"{value:.2g}") == value
    if value < 0.5 and not round_decimal and abs(value * 255 - scaled) < 1e-6 and scaled.denominator == 1:
        return f"{scaled.numerator}/255"
    return f"{value:.4g}"
