"""Plain data against the types that declare it: what a file of JSON or YAML holds is checked once, where it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from toughen.errors import ToughenError


class UnfitError(ToughenError):
    """Something that a file holds, or the file itself, which is not as declared. Whoever reads it names the file."""


@dataclass(frozen=True)
class Between:
    """The range of a number, ends included; NaN lies in none."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


Count = Annotated[int, Between(0, 2**53)]
"""How many of something."""
Share = Annotated[float, Between(0, 1)]
"""A part of 1."""
Amount = Annotated[float, Between(0, 1e100)]
"""Seconds, a radius, a size."""
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
_INT64 = 2**63
DEPTH = 64
"""How deep values of JSON and YAML may lie in each other."""


def check_kind(value: Any, kind: Any, place: str = "") -> None:
    """Raise unless plain data is of a type.

    Args:
        value: of None, bool, int, float, str, list and dict.
        kind: one of these; `Any`; `Literal`, unions, `list[T]`, `tuple[T, U]` for a list of so many, `dict[str, T]`;
            `TypedDict`, whose other keys are allowed; `Annotated` with a `Between`. A float may be whole, but in the
            range of floats, and whole numbers are of 64 bits.
        place: where it stands, for the message.

    Raises:
        UnfitError: naming the place, what was expected and what came.

    >>> check_kind({"held": [0.5, 2]}, dict[str, list[Share]])
    Traceback (most recent call last):
        ...
    toughen.reading.schema.UnfitError: held[1]: expected a number from 0 to 1, got 2
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin in (NotRequired, Required):
        check_kind(value, inner[0], place)
    elif origin is Annotated:
        low, high = inner[1].low, inner[1].high
        _scalar(value, inner[0], place)
        if not low <= value <= high:
            raise _unfit(value, f"{_WORDS[inner[0]]} {inner[1]}", place)
    elif origin is Literal:
        if isinstance(value, list | dict) or value not in inner:
            raise _unfit(value, f"one of {', '.join(map(str, inner))}", place)
    elif origin in (Union, UnionType):
        _one_of(value, inner, place)
    elif is_typeddict(kind):
        _mapping(value, place)
        fields, needed = _fields(kind)
        for name, field in fields.items():
            if name in value:
                check_kind(value[name], field, _inside(place, name))
            elif name in needed:
                raise UnfitError(f"{_inside(place, name)}: expected {_in_words(field)}, got nothing")
    elif origin is dict or kind is dict:
        _mapping(value, place)
        for name, item in value.items() if inner else ():
            check_kind(item, inner[1], _inside(place, name))
    elif origin in (list, tuple):
        if not isinstance(value, list) or (origin is tuple and len(value) != len(inner)):
            raise _unfit(value, f"a list of {len(inner)}" if origin is tuple else "a list", place)
        for number, item in enumerate(value):
            check_kind(item, inner[number] if origin is tuple else inner[0], f"{place}[{number}]")
    else:
        _scalar(value, kind, place)


def check_plain(value: Any) -> None:
    """Raise unless something is plain data: of the types of JSON, not too deep, its whole numbers of 64 bits.

    Raises:
        UnfitError: what came instead.
    """
    pending = [(value, 0)]
    while pending:
        each, depth = pending.pop()
        if depth > DEPTH:
            raise UnfitError(f"values lie deeper than {DEPTH} in each other")
        if isinstance(each, dict | list):
            pending += [(inner, depth + 1) for inner in (each.values() if isinstance(each, dict) else each)]
        elif not isinstance(each, str | int | float | None) or (isinstance(each, int) and abs(each) > 2**64):
            raise UnfitError(f"expected text, numbers of 64 bits, lists and mappings, got {shown(each)}")


def shown(value: Any) -> str:
    """What came, in a few characters.

    >>> shown("x" * 1000)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"a whole number of about {len(hex(value)) * 301 // 250:,} digits"
    if isinstance(value, list | dict) and (len(value) > 5 or any(isinstance(each, list | dict) for each in value)):
        return f"{'a list' if isinstance(value, list) else 'a mapping'} of {len(value):,}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(name)}: ...' for name in value)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 42 else f"{text[:39]}..."


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    return get_type_hints(kind, include_extras=True), kind.__required_keys__


def _scalar(value: Any, kind: Any, place: str) -> None:
    kinds = (int, float) if kind is float else (kind,)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kinds):
        raise _unfit(value, _WORDS[kind], place)
    if whole and not -_INT64 <= value < _INT64:
        raise _unfit(value, "a number of 64 bits", place)


def _one_of(value: Any, kinds: tuple[Any, ...], place: str) -> None:
    errors = []
    for kind in kinds:
        try:
            return check_kind(value, kind, place)
        except UnfitError as error:
            errors.append(error)
    # Of several structures the one that fits furthest says most.
    raise max(errors, key=lambda error: len(str(error).partition(": ")[0]))


def _mapping(value: Any, place: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _unfit(value, "entries by name", place)


def _inside(place: str, name: str) -> str:
    name = name if len(name) <= 60 else f"{name[:57]}..."
    return f"{place}.{name}" if place else name


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (NotRequired, Required, Annotated):
        return _in_words(inner[0])
    if origin in (list, tuple):
        return "a list"
    return _WORDS.get(kind, "it")


def _unfit(value: Any, expected: str, place: str) -> UnfitError:
    return UnfitError(f"{place + ': ' if place else ''}expected {expected}, got {shown(value)}")
