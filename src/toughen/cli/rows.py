"""A line of help for each setting."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from toughen.cli.choice import choose
from toughen.cli.settings import REQUIRED, Setting, alternatives, settings_of
from toughen.errors import InputError

INDENT = 26
"""Where the explanations begin."""
DEPTH = 4
"""How many classes deep settings are shown: a class may take another of its own kind."""
Row = tuple[str, str]
"""An option with what it takes, and its explanation."""


def table(rows: Iterable[Row], width: int) -> str:
    """Options on the left, explanations on the right, wrapped.

    >>> print(table([("--seed INT", "of everything [0]")], 60))
      --seed INT              of everything [0]
    """
    lines = []
    for option, text in rows:
        wrapped = textwrap.wrap(text, width - INDENT, break_on_hyphens=False) or [""]
        if len(option) + 4 > INDENT:
            lines.append(f"  {option}")
        else:
            lines.append(f"  {option}".ljust(INDENT) + wrapped.pop(0))
        lines += [" " * INDENT + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines)


def rows(settings: Iterable[Setting], prefix: str = "", deep: bool = False, of: object = None) -> list[Row]:
    """A row for each setting; a class that leaves no choice, such as the threat model, is shown by its own settings.

    Args:
        settings: of a function or class.
        prefix: what their options begin with, such as `method.`.
        deep: whether the settings of the classes that are their defaults follow.
        of: the object whose values are the defaults, where it is not the signature that tells.
    """
    found: list[Row] = []
    for setting in settings:
        setting = replace(setting, default=getattr(of, setting.name, setting.default))
        name, inner = f"{prefix}{setting.name}", _usual(setting)
        if not (setting.is_only and setting.default is not None):
            found.append((f"--{name} {_metavar(setting)}".rstrip(), _explained(setting)))
        if inner is not None and (deep or setting.is_only) and prefix.count(".") < DEPTH:
            instance = None if setting.is_factory or setting.default is REQUIRED else setting.default
            found += rows(settings_of(inner).values(), f"{name}.", deep, instance)
    return found


def _usual(setting: Setting) -> Callable[..., Any] | None:
    """The class that a setting has if no other is asked for; None where there is none."""
    try:
        return choose(setting, [], setting.name).called if setting.base else None
    except InputError:
        return None


def _metavar(setting: Setting) -> str:
    """What an option takes, in capitals or {a,b}; nothing for a switch.

    >>> _metavar(Setting("budget", Literal["quick", "standard"], "quick"))
    '{quick,standard}'
    >>> _metavar(Setting("batch_size", int | Literal["auto"], 250))
    'INT|auto'
    """
    kinds = [kind for kind in alternatives(setting.hint) if kind is not NoneType]
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if setting.base is not None:
        return "" if setting.is_only else "NAME"
    if choices and all(get_origin(kind) is Literal for kind in kinds):
        return f"{{{','.join(choices)}}}"
    if {float, str} <= set(kinds):
        return "NUMBER"
    words = {int: "INT", float: "FLOAT", bool: "{true,false}", str: "TEXT", list: "A,B", tuple: "A,B", dict: "{A: 1}"}
    if setting.default is False:
        return ""
    known = [words[kind] for kind in (get_origin(kind) or kind for kind in kinds) if kind in words]
    return "|".join([*(known[:1] or ["VALUE"]), *choices])


def _explained(setting: Setting) -> str:
    default = setting.default
    if default is REQUIRED:
        return f"{setting.help} (needed)".strip()
    if default is None or default is False:
        return setting.help
    if setting.base is not None:
        shown = getattr(default, "__name__", type(default).__name__)
    elif isinstance(default, list | tuple):
        shown = ",".join(map(str, default))
    else:
        shown = str(default).lower() if default is True else str(default)
    return f"{setting.help} [{shown}]".strip()
