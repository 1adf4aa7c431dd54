"""Which class a setting will have, out of what files and options ask for."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from toughen import catalog
from toughen.cli.asked import BARE, NOTHING, Asked, from_mapping
from toughen.cli.settings import REQUIRED, Setting, expected, settings_of
from toughen.cli.values import as_yaml
from toughen.config import import_path
from toughen.errors import InputError

Layers = Mapping[str, list[Asked]]
"""What each source asks of each setting, files first; a later one overrides an earlier one."""


@dataclass
class Choice:
    """The class that a setting will have, and what is asked of its settings.

    Attributes:
        called: the class or function; None for null.
        template: the default object whose settings hold where nothing else is asked for.
        layers: what is asked of the class's settings.
        place: where the class was named, for messages.
    """

    called: Callable[..., Any] | None
    template: Any
    layers: dict[str, list[Asked]]
    place: str


def layered(sources: Iterable[Mapping[str, Asked]]) -> dict[str, list[Asked]]:
    """What each source asks of each setting."""
    layers: dict[str, list[Asked]] = {}
    for source in sources:
        for name, asked in source.items():
            layers.setdefault(name, []).append(asked)
    return layers


def choose(setting: Setting, layers: list[Asked], path: str) -> Choice:
    """The class that the layers end with. A layer that names another class drops the settings of the one before."""
    default, base = setting.default, setting.base
    is_default = default is not None and default is not REQUIRED
    usual = (default if setting.is_factory else type(default)) if is_default else None
    chosen, template, place, is_null = usual, None if setting.is_factory else default, f"--{path}", False
    sections: dict[str, list[Asked]] = {}
    for asked in layers:
        named, inside = _unpack(setting, asked)
        is_null = named is None
        if is_null:
            chosen, template, sections = usual, default, {}
        elif named is not NOTHING:
            called = _resolve(setting, named, asked.place)
            sections = sections if called is chosen else {}
            chosen, template, place = called, None, asked.place
        for name, within in inside.items():
            sections.setdefault(name, []).append(within)
    if is_null and not sections:
        return Choice(None, None, {}, place)
    if chosen is None:
        kind = catalog.kind_of(base) if base else None
        if base is None or inspect.isabstract(base) or (kind and base.__name__ not in catalog.classes(kind)):
            option = next((each.place for within in sections.values() for each in within), place)
            raise InputError(f"{option}: which {path}? Give --{path} too: {_names(setting)}")
        chosen = base
    return Choice(chosen, template if is_default else None, sections, place)


def _unpack(setting: Setting, asked: Asked) -> tuple[Any, dict[str, Asked]]:
    """The class's name (None for null, `NOTHING` where none is given), and what is asked of its settings."""
    value, inside = asked.value, asked.inside
    if value is BARE and setting.is_only:
        value = NOTHING
    if value is BARE:
        raise InputError(f"{asked.place} needs a value: {_names(setting)}")
    if asked.is_text and isinstance(value, str):
        value = None if value in ("null", "None") else value
        value = as_yaml(value, asked.place) if value is not None and value.startswith("{") else value
    if isinstance(value, dict):
        named = value.get("class_path", NOTHING)
        content = value if named is NOTHING else value.get("init_args") or {}
        extra = set(value) - {"class_path", "init_args"} if named is not NOTHING else set()
        if extra or not isinstance(content, dict):
            raise InputError(
                f"{asked.place}: expected class_path and its settings under init_args, got {', '.join(map(str, value))}"
            )
        return named, {**from_mapping(content, f"{asked.place}."), **inside}
    if value is None and not setting.optional:
        raise InputError(f"{asked.place}: expected {_names(setting)}, got null")
    if value is not None and value is not NOTHING and not isinstance(value, str):
        raise InputError(f"{asked.place}: expected {_names(setting)}, or its settings, got {value!r}")
    return value, inside


def _resolve(setting: Setting, name: str, place: str) -> Callable[..., Any]:
    """The class that a name means, if the setting takes it."""
    base, kind = setting.base, catalog.kind_of(setting.base) if setting.base else None
    assert base is not None
    if kind is None and name.replace("_", "").lower() == base.__name__.lower():
        return base
    if setting.is_only and catalog.folded(name) == catalog.folded(base.__name__):
        return base
    if kind is None and not re.fullmatch(r"\w+(\.\w+)+", name):
        null = ", or null" if setting.optional else ""
        known = ", ".join(f"{place}.{each}" if place.startswith("--") else each for each in settings_of(base))
        raise InputError(f"{place}: expected settings of its own ({known}){null}, got {name!r}")
    try:
        called = import_path(catalog.find(kind, name, place) if kind else name)
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(place) else f"{place}: {said}") from error
    fits = issubclass(called, base) if isinstance(called, type) else setting.is_factory and callable(called)
    if not fits:
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        raise InputError(f"{place}: {name} is not {article} {base.__name__}; expected {_names(setting)}")
    if inspect.isabstract(called):
        raise InputError(f"{place}: {name} is only the base of others; expected {_names(setting)}")
    return called


def _names(setting: Setting) -> str:
    """The names that a setting takes, for messages."""
    kind, base = catalog.kind_of(setting.base) if setting.base else None, setting.base
    if kind is None or base is None:
        return f"the import path of a {expected(base)}: package.module.Name"
    named = {name: import_path(entry.path) for name, entry in catalog.classes(kind).items()}
    fitting = [name for name, called in named.items() if isinstance(called, type) and issubclass(called, base)]
    return f"{', '.join(fitting)}, or the import path of your own {base.__name__}"
