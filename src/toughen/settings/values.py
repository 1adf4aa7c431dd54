"""Values of plain types: which part of a type a file may give, and the value that text or plain data means."""

import os
from enum import Enum
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin

from toughen.errors import InputError
from toughen.settings.signature import LISTS, alternatives, choices, expected

_PLAIN = (int, float, bool, str, NoneType, list, tuple, dict)


def plain_part(hint: Any) -> Any:
    """What plain data can be of a type, for the reader of files; None where nothing can.

    Of a class, a function or a type that is not known, jsonargparse would import and call what a file names.

    >>> plain_part(float | type[int]), plain_part(dict[str, Any]), plain_part(list[int]), plain_part(type[int])
    (<class 'float'>, <class 'dict'>, list[int], None)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or origin is Literal or hint in _PLAIN:
        return hint
    if isinstance(hint, type) and issubclass(hint, (os.PathLike, Enum)):
        return hint
    if len(alternatives(hint)) > 1:
        parts = tuple(part for part in map(plain_part, alternatives(hint)) if part is not None)
        return Any if Any in parts else Union[parts] if parts else None  # noqa: UP007 - of a tuple
    if origin in (*LISTS, dict) and inner:
        items = [plain_part(each) for each in inner if each is not Ellipsis]
        return None if None in items else origin if set(items) & {Any, list, tuple, dict} else hint
    return None


def read_value(hint: Any, value: Any, is_text: bool, place: str, optional: bool) -> Any:
    """The value of a type, read and checked by jsonargparse.

    Raises:
        InputError: it is of another type.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    kinds = [get_origin(kind) or kind for kind in alternatives(hint)]
    came = "null" if value is None else repr(value)
    if is_text and set(LISTS) & set(kinds) and not value.startswith("["):
        value, is_text = [item.strip() for item in value.split(",") if item.strip()], False
    elif is_text:  # names ignore case here too
        value = next((each for each in choices(hint) if each.lower() == value.lower()), value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        if value is None and not optional:
            raise ArgumentError(None, "null")
        parsed = parser.parse_args([f"--value={value}"]) if is_text else parser.parse_object({"value": value})
    except (ArgumentError, OverflowError) as error:  # a whole number may be too large for a float
        raise InputError(f"{place}: expected {expected(hint)}, got {came}") from error
    return parser.instantiate(parsed).value
