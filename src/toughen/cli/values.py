"""One value, read according to its type by jsonargparse."""

from typing import Any, Literal, get_args, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from toughen.cli.asked import BARE, NOTHING, Asked
from toughen.cli.plain import load
from toughen.cli.settings import Setting, alternatives, expected
from toughen.errors import InputError


def read(setting: Setting, asked: Asked) -> Any:
    """The value that was asked for, checked and converted.

    Raises:
        InputError: it is not of the setting's type; the message says what was expected.

    >>> read(Setting("epochs", int, 30), Asked("--epochs", "3", is_text=True))
    3
    """
    value, is_text = asked.value, asked.is_text
    kinds = [get_origin(kind) or kind for kind in alternatives(setting.hint)]
    if asked.inside:
        if dict not in kinds and Any not in kinds:
            first = next(iter(asked.inside.values()))
            raise InputError(
                f"{first.place}: {asked.place} has no settings within, it takes a value: {expected(setting.hint)}"
            )
        value, is_text = _as_mapping(asked), False
    if value is BARE:
        if setting.is_switch:
            return True
        raise InputError(f"{asked.place} needs a value: expected {expected(setting.hint)}")
    if value is None and not setting.optional:
        raise _wrong(setting, asked)
    if is_text and list in kinds and not value.startswith("["):
        value, is_text = [item.strip() for item in value.split(",") if item.strip()], False
    if is_text and kinds == [Literal]:
        # Names ignore case here too.
        value = next((each for each in get_args(setting.hint) if str(each).lower() == value.lower()), value)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=setting.hint)
    try:
        parsed = parser.parse_args([f"--value={value}"]) if is_text else parser.parse_object({"value": value})
    except ArgumentError as error:
        raise _wrong(setting, asked) from error
    return parser.instantiate(parsed).value


def as_yaml(text: str, place: str) -> Any:
    """What a piece of YAML on the command line says.

    Raises:
        InputError: it is not YAML.
    """
    try:
        return load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{place}: expected a value or YAML such as {{width: 32}}, got {text!r}") from error


def _as_mapping(asked: Asked) -> Any:
    """Settings of a free-form dict, which have no types."""
    if not asked.inside:
        return as_yaml(asked.value, asked.place) if asked.is_text else asked.value
    within = {name: _as_mapping(each) for name, each in asked.inside.items()}
    outer = {} if asked.value is NOTHING else as_yaml(asked.value, asked.place) if asked.is_text else asked.value
    return {**(outer if isinstance(outer, dict) else {}), **within}


def _wrong(setting: Setting, asked: Asked) -> InputError:
    return InputError(f"{asked.place}: expected {expected(setting.hint)}, got {_shown(asked.value)}")


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)
