"""Numbers as this field writes them: `8/255`."""

import math
from fractions import Fraction
from numbers import Integral, Real

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


LARGEST = 2**53
"""No whole number that is a setting is larger: from here on floats, such as those of YAML, leave some out."""


def check_number(
    name: str,
    value: float,
    what: str = "a number",
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
    whole: bool = False,
    such: str = "",
) -> None:
    """Raise unless a setting is a finite number in its range: every numeric setting is checked by this.

    Args:
        name: the setting's, for the error.
        value: what was given.
        what: what is expected, for the error.
        least: the smallest that is allowed.
        above: it must be larger than this.
        most: the largest that is allowed.
        below: it must be smaller than this.
        whole: whether it must be a whole number, which every float can hold.
        such: an example for the error.

    Raises:
        InputError: it is not.

    >>> check_number("method.lam", float("nan"), "a weight", least=0)
    Traceback (most recent call last):
        ...
    toughen.errors.InputError: method.lam: expected a weight of at least 0, got nan
    """
    if whole and isinstance(value, Integral) and abs(value) > LARGEST:
        raise InputError(f"{name}: expected a whole number of at most {LARGEST:,}, got one beyond")
    # Written so that NaN is outside every range.
    within = isinstance(value, Real) and above < value < below and least <= value <= most and abs(value) < math.inf
    if within and (isinstance(value, Integral) or not whole):
        return
    if whole:
        what = "" if isinstance(value, Integral) else "a whole number"
    example = f" such as {such}" if such else ""
    raise InputError(
        f"{name}: expected {f'{what} {_range(what, least, above, most, below)}'.strip()}{example}, got {value!r}"
    )


def check_seed(name: str, value: int) -> None:
    """Raise unless a setting can be a seed: whole, and of 32 bits, as several are made of it.

    Raises:
        InputError: it cannot.
    """
    check_number(name, value, least=0, whole=True)
    if value >= 2**32:
        raise InputError(f"{name}: expected a seed below 2^32, got {value}")


def _range(what: str, least: float, above: float, most: float, below: float) -> str:
    if above > -math.inf:
        low = f"between {above:g} and {below:g}" if below < math.inf else f"above {above:g}"
        return f"{low} and at most {most:g}" if most < math.inf else low
    if below < math.inf or most < math.inf:
        return f"from {least:g} to {f'below {below:g}' if below < math.inf else f'{most:g}'}"
    return f"of at least {least:g}" if what else f"at least {least:g}"
