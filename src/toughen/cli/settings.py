"""What a function or a class can be told: the settings in its signature, with their types, defaults and help lines."""

import inspect
import os
from collections.abc import Callable
from collections.abc import Callable as CallableABC
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from toughen import catalog

REQUIRED = inspect.Parameter.empty
"""The default of a setting that has none."""


@dataclass(frozen=True)
class Setting:
    """One parameter of a signature.

    Attributes:
        name: its name.
        hint: its type; `Any` where the signature gives none.
        default: its default, or `REQUIRED`.
        help: its entry in the docstring.
    """

    name: str
    hint: Any
    default: Any
    help: str = ""

    @property
    def optional(self) -> bool:
        """Whether null is a value of its type."""
        return self.hint in (Any, None) or NoneType in alternatives(self.hint)

    @property
    def base(self) -> type | None:
        """The class whose subclasses are its values; None where it takes numbers, text and the like."""
        kinds = [kind for kind in alternatives(self.hint) if kind is not NoneType]
        if len(kinds) != 1:
            return None
        kind = get_args(kinds[0])[-1] if get_origin(kinds[0]) is CallableABC and get_args(kinds[0]) else kinds[0]
        return kind if _has_settings(kind) else None

    @property
    def item(self) -> "Setting | None":
        """What each entry is, where it takes a list of such classes; None for everything else."""
        inner = [get_args(kind)[0] for kind in alternatives(self.hint) if get_origin(kind) is list and get_args(kind)]
        entry = Setting(self.name, inner[0], None, self.help) if inner else None
        return entry if entry is not None and entry.base is not None else None

    @property
    def is_factory(self) -> bool:
        """Whether it wants the class itself, waiting for arguments, as a network waits for the number of classes."""
        return any(get_origin(kind) is CallableABC for kind in alternatives(self.hint))

    @property
    def is_only(self) -> bool:
        """Whether it takes one known class, as the threat model does, so that only its settings need be given."""
        base = self.base
        if base is None or self.is_factory or inspect.isabstract(base):
            return False
        kind = catalog.kind_of(base)
        return kind is None or list(catalog.classes(kind)) == [base.__name__]

    @property
    def is_switch(self) -> bool:
        """Whether its bare name on the command line means true."""
        return bool in alternatives(self.hint)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; any other type alone.

    >>> alternatives(int | None)
    (<class 'int'>, <class 'NoneType'>)
    """
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


@cache
def settings_of(called: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a function, or of a class's constructor, by name.

    Where a constructor passes `**kwargs` on, the parents' settings follow its own.
    """
    found: dict[str, Setting] = {}
    described = _described(called)
    for maker in _makers(called):
        hints = _hints(maker)
        for name, parameter in _parameters(maker, called).items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and name not in found:
                found[name] = Setting(name, hints.get(name, Any), parameter.default, described.get(name, ""))
    return found


def takes_anything(called: Callable[..., Any]) -> bool:
    """Whether any other name is accepted too, by a `**kwargs` that leads to no known signature."""
    parameters = [each for maker in _makers(called)[-1:] for each in _parameters(maker, called).values()]
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def expected(hint: Any) -> str:
    """A type in words, for error messages.

    >>> expected(int | None), expected(Literal["linf", "l2"]), expected(float | str), expected(int | Literal["auto"])
    ('an int or null', 'one of linf, l2', 'a number such as 0.03 or 8/255', 'an int or auto')
    """
    kinds = alternatives(hint)
    if {float, str} <= set(kinds):
        return " or ".join(["a number such as 0.03 or 8/255", *(["null"] if NoneType in kinds else [])])
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    words = [_in_words(kind) for kind in kinds if get_origin(kind) is not Literal]
    if choices:
        words.append(f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0])
    return " or ".join(dict.fromkeys(words))


def _in_words(kind: Any) -> str:
    names = {int: "an int", float: "a float", bool: "true or false", str: "text", NoneType: "null", Any: "any value"}
    if kind in names:
        return names[kind]
    if kind in (list, tuple, set) or get_origin(kind) in (list, tuple, set):
        inner = [item for item in get_args(kind) if item is not Ellipsis]
        return f"a list such as [a, b], each {expected(inner[0])}" if inner else "a list such as [a, b]"
    if kind is dict or get_origin(kind) is dict:
        return "settings such as {width: 32}"
    if isinstance(kind, type) and issubclass(kind, os.PathLike):
        return "a path"
    return getattr(kind, "__name__", str(kind))


def _has_settings(kind: Any) -> bool:
    """Whether a type is a class to choose and configure, not a value to write down."""
    if not isinstance(kind, type) or issubclass(kind, os.PathLike | Enum | str | int | float | list | dict | tuple):
        return False
    return (
        catalog.kind_of(kind) is not None
        or inspect.isabstract(kind)
        or any(inspect.isfunction(vars(each).get("__init__")) for each in kind.__mro__)
    )


def _makers(called: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The functions whose parameters `called` takes."""
    if not isinstance(called, type):
        return [called]
    makers: list[Callable[..., Any]] = []
    for owner in called.__mro__:
        maker = vars(owner).get("__init__")
        # torch's own module declares *args and **kwargs, but takes none.
        if inspect.isfunction(maker) and owner.__module__ != "torch.nn.modules.module":
            makers.append(maker)
            if not any(each.kind is each.VAR_KEYWORD for each in inspect.signature(maker).parameters.values()):
                break
    return makers


def _described(called: Callable[..., Any]) -> dict[str, str]:
    """What the docstrings say of each parameter: a class's own first, then its parents'."""
    owners = called.__mro__ if isinstance(called, type) else (called,)
    found: dict[str, str] = {}
    for owner in owners:
        for item in parse_docstring(inspect.cleandoc(owner.__doc__ or "")).params:
            found.setdefault(item.arg_name, " ".join((item.description or "").split()))
    return found


def _parameters(maker: Callable[..., Any], called: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        parameters = dict(inspect.signature(maker).parameters)
    except (ValueError, TypeError):  # some built-in classes do not tell theirs
        return {}
    if isinstance(called, type):
        parameters.pop(next(iter(parameters), ""), None)  # self
        parameters.pop("params", None)  # of an optimiser: the network's
    return parameters


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(maker)
    except (NameError, TypeError):  # a name that is only imported for type checkers
        return {}
