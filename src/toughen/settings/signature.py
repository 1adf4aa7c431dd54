"""What a function or a class can be told: the settings in its signature, with their types, defaults and help lines."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

from toughen import catalog

REQUIRED = inspect.Parameter.empty
"""The default of a setting that has none."""
LISTS = (list, tuple, Sequence)
WORDS: dict[Any, tuple[str, str]] = {
    int: ("INT", "an int"), float: ("FLOAT", "a float"), bool: ("{true,false}", "true or false"), str: ("TEXT", "text"),
    **dict.fromkeys(LISTS, ("A,B", "a list such as [a, b]")),
    **dict.fromkeys((dict, Mapping), ("{A: 1}", "settings such as {width: 32}")),
    NoneType: ("null", "null"), Any: ("VALUE", "any value"),
}  # fmt: skip
"""What a type is called in help texts and in messages."""


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
    def kinds(self) -> list[Any]:
        """The members of its type without null."""
        return [kind for kind in alternatives(self.hint) if kind is not NoneType]

    @property
    def optional(self) -> bool:
        """Whether null is a value of its type."""
        return self.hint in (Any, None) or NoneType in alternatives(self.hint)

    @property
    def base(self) -> type | None:
        """The class whose subclasses are its values; None where it takes numbers, text and the like."""
        kind, *others = self.kinds or [None]
        kind = get_args(kind)[-1] if get_origin(kind) is Callable and get_args(kind) else kind
        values = (os.PathLike, Enum, str, int, float, list, dict, tuple)
        if others or not isinstance(kind, type) or issubclass(kind, values):
            return None
        is_class = catalog.kind_of(kind) is not None or inspect.isabstract(kind)
        return (
            kind if is_class or any(inspect.isfunction(vars(each).get("__init__")) for each in kind.__mro__) else None
        )

    @property
    def item(self) -> "Setting | None":
        """What each entry is, where it takes a list of such classes; None for everything else."""
        inner = [get_args(kind)[0] for kind in self.kinds if get_origin(kind) in LISTS and get_args(kind)]
        entry = Setting(self.name, inner[0], None, self.help) if inner else None
        return entry if entry is not None and entry.base is not None else None

    @property
    def is_factory(self) -> bool:
        """Whether it wants the class itself, waiting for arguments, as a network waits for the number of classes."""
        return any(get_origin(kind) is Callable for kind in self.kinds)

    @property
    def is_only(self) -> bool:
        """Whether it takes one known class, as the threat model does, so that only its settings need be given."""
        base, kind = self.base, catalog.kind_of(self.base) if self.base else None
        if base is None or self.is_factory or inspect.isabstract(base):
            return False
        return kind is None or list(catalog.classes(kind)) == [base.__name__]


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; any other type alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def choices(hint: Any) -> list[str]:
    """The words that a type names one by one."""
    return [str(each) for kind in alternatives(hint) if get_origin(kind) is Literal for each in get_args(kind)]


@cache
def settings_of(called: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a function, or of a class's constructor, by name.

    Where a constructor passes `**kwargs` on, the parents' settings follow its own. The fields of a dataclass that a
    function takes as `settings` stand among the function's own.
    """
    found: dict[str, Setting] = {}
    made = {each.name: each.default_factory for each in fields(called)} if is_dataclass(called) else {}
    owners = called.__mro__ if isinstance(called, type) else (called,)
    # A class's own docstring counts before its parents'.
    described = [parse_docstring(inspect.cleandoc(owner.__doc__ or "")).params for owner in owners]
    helps = {each.arg_name: " ".join((each.description or "").split()) for of in described[::-1] for each in of}
    for parameters, hints in _signatures(called):
        for each in parameters:
            name, default = each.name, each.default
            of_network = isinstance(called, type) and name == "params"  # which an optimiser is given
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) or name in found or of_network:
                continue
            inner = settings_of(hints[name]) if _is_flat(name, hints) else {}
            found |= {field: replace(of, default=getattr(default, field, of.default)) for field, of in inner.items()}
            if not inner:
                factory = made.get(name, MISSING)
                default = default if factory is MISSING else factory()
                found[name] = Setting(name, hints.get(name, Any), default, helps.get(name, ""))
    return found


def packed(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a function from the values of its settings, those of a dataclass together in one."""
    values = dict(values)
    for parameters, hints in _signatures(function):
        for name in (each.name for each in parameters if _is_flat(each.name, hints)):
            inner = {field: values.pop(field) for field in settings_of(hints[name]) if field in values}
            values[name] = hints[name](**inner)
    return values


def takes_anything(called: Callable[..., Any]) -> bool:
    """Whether any other name is accepted too, by a `**kwargs` that leads to no known signature."""
    last = [parameters for parameters, _ in _signatures(called)][-1:]
    return any(each.kind is each.VAR_KEYWORD for parameters in last for each in parameters)


def expected(hint: Any) -> str:
    """A type in words, for error messages.

    >>> expected(int | None), expected(Literal["linf", "l2"]), expected(float | str), expected(int | Literal["auto"])
    ('an int or null', 'one of linf, l2', 'a number such as 0.03 or 8/255', 'an int or auto')
    """
    kinds, named = [kind for kind in alternatives(hint) if get_origin(kind) is not Literal], choices(hint)
    if {float, str} <= set(kinds):
        return " or ".join(["a number such as 0.03 or 8/255", *(["null"] if NoneType in kinds else [])])
    words = [_in_words(kind) for kind in kinds]
    if named:
        words.append(f"one of {', '.join(named)}" if len(named) > 1 else named[0])
    return " or ".join(dict.fromkeys(words))


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind) or kind, [item for item in get_args(kind) if item is not Ellipsis]
    if origin in LISTS and inner:
        return f"{WORDS[list][1]}, each {expected(inner[0])}"
    if isinstance(kind, type) and issubclass(kind, os.PathLike):
        return "a path"
    return WORDS[origin][1] if origin in WORDS else getattr(kind, "__name__", str(kind))


def _is_flat(name: str, hints: dict[str, Any]) -> bool:
    return name == "settings" and is_dataclass(hints.get(name))


def _signatures(called: Callable[..., Any]) -> Iterator[tuple[list[inspect.Parameter], dict[str, Any]]]:
    """Parameters and types of a function, or of a class and those parents that its `**kwargs` lead to."""
    for owner in called.__mro__ if isinstance(called, type) else (called,):
        maker = vars(owner).get("__init__", owner) if isinstance(owner, type) else owner
        # torch's own module declares *args and **kwargs, but takes none; some libraries replace its constructor.
        if owner is object or (owner.__module__, owner.__qualname__) == ("torch.nn.modules.module", "Module"):
            return
        if isinstance(owner, type) and "__init__" not in vars(owner):
            continue
        try:
            parameters = list(inspect.signature(owner).parameters.values())
        except (ValueError, TypeError):  # some built-in classes do not tell theirs
            return
        try:
            hints = get_type_hints(maker)
        except (NameError, TypeError):  # a name that is only imported for type checkers
            hints = {}
        yield parameters, hints
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return
