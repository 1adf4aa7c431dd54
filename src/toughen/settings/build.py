"""From what is given to objects: which class a setting will have, its settings, and what is wrong with them."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_origin

from toughen import catalog
from toughen.catalog import folded
from toughen.errors import InputError, ToughenError, did_you_mean
from toughen.settings.door import check_reads_nothing, described_in, import_from_file, import_path
from toughen.settings.given import BARE, Given, by_name
from toughen.settings.signature import REQUIRED, Setting, expected, settings_of, takes_anything
from toughen.settings.values import plain_part, read_value

DEPTH = 4
"""How many classes deep settings are shown and searched: a class may take another of its own kind."""
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
            named = _resolve(setting, each, _inner(given, len(path)))
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


def build(setting: Setting, given: list[Given], path: Names) -> Any:
    """The value of a setting of which something is given; `path` holds its name and those that it lies in.

    Raises:
        InputError: an unknown class or setting, a value of another type, a missing setting.
    """
    if setting.item is not None:
        entries = [build(setting.item, entry, entry[0].path) for entry in _entries(given, len(path))]
        return tuple(entries) if isinstance(setting.default, tuple) else entries
    if setting.base is None:
        return _read(setting, given, len(path))
    choice = choose(setting, given, path)
    called, values = choice.called, {}
    if called is None:
        return None
    described = [each for each in choice.within if each.file is not None]
    check_reads_nothing(called, choice.place, _inner(described, len(path)))
    for name, inner in by_name(choice.within, len(path)).items():
        if name not in choice.settings and not takes_anything(called):
            hint = did_you_mean(name, choice.settings) if choice.settings else "it has none"
            raise InputError(f"{inner[0].outer(len(path) + 1)}: unknown setting of {choice.name}; {hint}")
        values[name] = build(choice.settings.get(name, Setting(name, Any, None)), inner, (*path, name))
    facts = _facts(called) if setting.is_factory else set()
    for name, each in choice.settings.items():
        if name in values or name in facts:
            continue
        if each.default is REQUIRED:
            text = f" ({each.help.partition('; ')[0].rstrip('.')})" if each.help else ""
            raise InputError(f"{choice.place} {choice.name} needs --{'.'.join(path)}.{name}{text}")
        # A configuration records what a factory is given; a constructor knows its own defaults.
        recorded = setting.is_factory and isinstance(each.default, bool | int | float | str | None)
        if recorded or each is not settings_of(called)[name]:
            values[name] = each.default
    if setting.is_factory:
        return partial(called, **values)
    file = described[0].file if described else None
    try:
        with described_in(file):
            return called(**values)
    except ToughenError:
        raise
    except Exception as error:
        if file is None and not isinstance(error, (TypeError, ValueError)):
            raise  # the user's own class: where it failed, only its traceback tells
        raise InputError(f"{choice.place}: {choice.name} cannot be built with {values}: {error}") from error


def walk(
    settings: Mapping[str, Setting], given: list[Given], deep: bool, path: Names = ()
) -> Iterator[tuple[Names, Setting]]:
    """Every setting with its path; those of the chosen classes too, or only of the classes that leave no choice."""
    for name, setting in settings.items():
        inner = (*path, name)
        yield inner, setting
        if setting.base is not None and (deep or setting.is_only) and len(inner) <= DEPTH:
            with suppress(InputError):
                choice = choose(setting, by_name(given, len(path)).get(name, []), inner)
                yield from walk(choice.settings, choice.within, deep, inner)


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
            content = value.get("init_args") or {}
            if not isinstance(content, dict) or set(value) - {"class_path", "init_args"}:
                got = ", ".join(map(str, value))
                raise InputError(f"{each.place}: expected class_path and its settings under init_args, got {got}")
            found.append(replace(each, value=value["class_path"]))
        found += each.within(content)
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
        called = import_path(path) if named.file is None else import_from_file(path, place, arguments)
    except InputError as error:
        raise InputError(f"{place}: {str(error).removeprefix(f'{place}: ')}") from error
    fits = issubclass(called, base) if isinstance(called, type) else setting.is_factory and callable(called)
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


def _facts(network: Callable[..., Any]) -> set[str]:
    """The settings of a network that the data tells."""
    from toughen.models.build import with_facts

    return set(with_facts(network, 0, 0).keywords)


def _entries(given: list[Given], depth: int) -> list[list[Given]]:
    """What is given of each entry of a list of classes; the last layer that names entries says which there are.

    On the command line they are names with commas between them, or a YAML list; in a file a list of names, or of
    class_path and init_args. Settings of an entry are given under its name.
    """
    entries: list[list[Given]] = []
    for whole in [each for each in given if len(each.path) == depth][-1:]:
        value = whole.read() if isinstance(whole.value, str) and whole.value.startswith("[") else whole.value
        value = (
            [name.strip() for name in value.split(",") if name] if whole.is_text and isinstance(value, str) else value
        )
        if not isinstance(value, list):
            came = "nothing" if value is BARE else repr(value)
            raise InputError(f"{whole.place}: expected names with commas between them, got {came}")
        entries = [[replace(whole, path=(*whole.path, str(each)), value=each, is_text=False)] for each in value]
    known = {folded(entry[0].value): entry for entry in entries if isinstance(entry[0].value, str)}
    for name, inner in by_name(given, depth).items():
        if folded(name) not in known:
            place, names = inner[0].outer(depth + 1), [entry[0].value for entry in known.values()]
            hint = did_you_mean(name, names) if names else f"name it with {inner[0].outer(depth)} too"
            raise InputError(f"{place}: {name} is not in the list; {hint}")
        # The list may stand in a later layer than the settings of its entries.
        entry = known[folded(name)]
        entry += [replace(each, layer=max(each.layer, entry[0].layer)) for each in inner]
    return entries


def _inner(given: list[Given], depth: int) -> dict[str, Any]:
    """What is given of the settings within, as plain data."""
    return {name: _mapping(each, depth + 1) for name, each in by_name(given, depth).items()}


def _mapping(given: list[Given], depth: int) -> Any:
    """What is given of a free-form dict, whose settings have no types."""
    whole = next((each.read() for each in given if len(each.path) == depth), None)
    inner = _inner(given, depth)
    return {**(whole if isinstance(whole, dict) else {}), **inner} if inner else whole


def _read(setting: Setting, given: list[Given], depth: int) -> Any:
    """A value of the setting's type. Of what a file says, nothing but plain data goes past the door."""
    words, hint = expected(setting.hint), setting.hint
    kinds = [get_origin(kind) or kind for kind in setting.kinds]
    given = [each for each in given if each.layer == given[-1].layer]
    place, value, is_text = given[0].outer(depth), given[0].value, given[0].is_text
    for each in (each for each in given if len(each.path) > depth):
        if dict not in kinds and Any not in kinds:
            raise InputError(f"{each.place}: {place} has no settings within, it takes a value: {words}")
        value, is_text = _mapping(given, depth), False
    if value is BARE:
        if bool in setting.kinds:
            return True
        raise InputError(f"{place} needs a value: expected {words}")
    described = next((each for each in given if each.file is not None), None)
    if described is None:
        return read_value(hint, value, is_text, place, setting.optional)
    plain = plain_part(hint)
    value = given[0].read() if plain is None or plain is Any or _is_class(value) else value
    if plain is Any or _is_class(value) or (plain is None and isinstance(value, list | dict | None)):
        return _rebuilt(value, replace(described, path=given[0].path[:depth], place=place))
    if plain is None:
        raise InputError(f"{place}: expected {words}, got {value!r}")
    value = read_value(plain, value, is_text, place, setting.optional)
    return _rebuilt(value, replace(described, path=given[0].path[:depth], place=place))


def _is_class(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)


def _rebuilt(value: Any, where: Given) -> Any:
    """What a file says of a setting whose type does not tell, with every described object in it built.

    Raises:
        InputError: an object that is of no kind that settings take.
    """
    if isinstance(value, list | tuple):
        return type(value)(_rebuilt(item, where) for item in value)
    if not isinstance(value, dict):
        return value
    if not _is_class(value):
        return {name: _rebuilt(item, where.within({name: item})[0]) for name, item in value.items()}
    arguments = value.get("init_args") or {}
    called: Any = import_from_file(value["class_path"], where.place, arguments, base=None)
    setting = Setting(where.path[-1], called, REQUIRED)
    if setting.base is None:  # trusted, and of no kind
        with described_in(where.file):
            return called(**_rebuilt(arguments, where))
    return build(setting, [replace(where, value=value, is_text=False)], where.path)
