"""Which class a setting will have, by what is given, and what is given of that class's settings."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from toughen import catalog
from toughen.catalog import folded
from toughen.errors import InputError
from toughen.settings.door import import_from_file
from toughen.settings.given import BARE, Given, init_args, plain_settings
from toughen.settings.names import import_path
from toughen.settings.signature import REQUIRED, Setting, expected, settings_of
from toughen.settings.trust import is_trusted

Names = tuple[str, ...]
"""A setting's name after those of the settings that it lies in."""


@dataclass
class Choice:
    """The class that a setting will have, and what is given of its settings.

    Attributes:
        called: the class or function; None for null.
        settings: its settings, with the values of the default object where that is of this class.
        within: what is given of them.
        place: where the class was named, for messages.
    """

    called: Callable[..., Any] | None
    settings: dict[str, Setting]
    within: list[Given]
    place: str

    @property
    def name(self) -> str:
        """What the class is called."""
        return getattr(self.called, "__name__", str(self.called))


def choose(setting: Setting, given: list[Given], path: Names) -> Choice:
    """The class that a setting ends with. A layer that names another class drops the settings of those before it."""
    base, default, option = setting.base, setting.default, f"--{'.'.join(path)}"
    given = _opened(given, len(path))
    meant = _MEANT.get(catalog.kind_of(base) or "") if base is not None else None
    if meant is not None:
        given = _as_classes(given, len(path), meant)
    usual = None if default in (None, REQUIRED) else default if setting.is_factory else type(default)
    called, template, place, since, is_null = usual, default, option, 0, False
    for each in (each for each in given if len(each.path) == len(path)):
        is_null = each.value is None
        if is_null and not setting.optional:
            raise InputError(f"{each.place}: expected {_names(setting)}, got null")
        if each.value is BARE and not setting.is_only:
            raise InputError(f"{each.place} needs a value: {_names(setting)}")
        if is_null:
            called, template, since = usual, default, each.layer
        elif each.value is not BARE:
            named = _resolve(setting, each, plain_settings(given, len(path)))
            since = since if named is called else each.layer
            called, template, place = named, None, each.place
    within = [each for each in given if len(each.path) > len(path) and each.layer >= since]
    if is_null and not within:
        return Choice(None, {}, [], place)
    if called is None:
        called, kind = base, catalog.kind_of(base) if base else None
        if called is None or inspect.isabstract(called) or (kind and called.__name__ not in catalog.classes(kind)):
            first = within[0].place if within else place
            raise InputError(f"{first}: which {option[2:]}? Give {option} too: {_names(setting)}")
    settings = settings_of(called)
    if isinstance(template, called if isinstance(called, type) else ()):
        settings = {
            name: replace(each, default=getattr(template, name, each.default)) for name, each in settings.items()
        }
    return Choice(called, settings, within, place)


def _opened(given: list[Given], depth: int) -> list[Given]:
    """The same, with each mapping in the place of a class taken apart: the class's name, and what it says within."""
    found = []
    for each in given:
        value = each.value
        if len(each.path) == depth and each.is_text and isinstance(value, str):
            value = None if value in ("null", "None") else each.read() if value.startswith("{") else value
        if len(each.path) > depth or not isinstance(value, dict):
            found.append(replace(each, value=value))
            continue
        content = value
        if "class_path" in value:
            content = init_args(value, each.place)
            found.append(replace(each, value=value["class_path"]))
        found += each.within(content)
    return found


_MEANT = {"models": catalog.of_library, "data": catalog.reader_at}
"""What makes a class and its settings of a short form: of timm:resnet18, or of the folder of one's images."""


def _as_classes(given: list[Given], depth: int, meant: Callable[[str], dict[str, Any] | None]) -> list[Given]:
    """The same, with each short form as a class and its settings."""
    found = []
    for each in given:
        named = len(each.path) == depth and isinstance(each.value, str)
        described = meant(each.value) if named else None
        found.append(each if described is None else replace(each, value=described["class_path"]))
        found += [] if described is None else each.within(described["init_args"])
    return found


def _resolve(setting: Setting, named: Given, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The class that a name means, if the setting takes it; `arguments` are what it would be given."""
    base, name, place = setting.base, named.value, named.place
    assert base is not None
    kind = catalog.kind_of(base)
    if not isinstance(name, str):
        raise InputError(f"{place}: expected {_names(setting)}, or its settings, got {name!r}")
    if (kind is None or setting.is_only) and folded(name) == folded(base.__name__):
        return base
    if kind is None and not re.fullmatch(r"\w+(\.\w+)+", name):
        null = ", or null" if setting.optional else ""
        known = ", ".join(f"{place}.{each}" if place.startswith("--") else each for each in settings_of(base))
        raise InputError(f"{place}: expected settings of its own ({known}){null}, got {name!r}")
    try:
        path = catalog.find(kind, name, place) if kind else name
        called = import_path(path) if named.file is None else import_from_file(path, place, arguments, file=named.file)
    except InputError as error:
        raise InputError(f"{place}: {str(error).removeprefix(f'{place}: ')}") from error
    # A function that a file may name builds networks, and nothing else.
    builds = setting.is_factory and callable(called) and (named.file is None or kind == "models" or is_trusted(path))
    fits = issubclass(called, base) if isinstance(called, type) else builds
    if not fits or inspect.isabstract(called):
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        wrong = "only the base of others" if fits else f"not {article} {base.__name__}"
        raise InputError(f"{place}: {name} is {wrong}; expected {_names(setting)}")
    return called


def _names(setting: Setting) -> str:
    """The names that a setting takes, for messages."""
    base = setting.base
    kind = catalog.kind_of(base) if base else None
    if kind is None or base is None:
        return f"the import path of a {expected(base)}: package.module.Name"
    named = {name: import_path(entry.path) for name, entry in catalog.classes(kind).items()}
    fitting = [name for name, called in named.items() if isinstance(called, type) and issubclass(called, base)]
    return f"{', '.join(fitting)}, or the import path of your own {base.__name__}"
