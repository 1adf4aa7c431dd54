"""From what is given to objects, through the door where a file gives it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, get_origin

from toughen.catalog import folded
from toughen.errors import InputError, ToughenError, did_you_mean
from toughen.settings.choice import Names, choose
from toughen.settings.door import check_reads_nothing, described_in, import_from_file
from toughen.settings.given import BARE, Given, by_name, init_args, plain_data, plain_settings
from toughen.settings.signature import REQUIRED, Setting, expected, settings_of, takes_anything
from toughen.settings.size import check_size
from toughen.settings.values import plain_part, read_value

DEPTH = 4
"""How many classes deep settings are shown and searched: a class may take another of its own kind."""


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
    check_reads_nothing(called, choice.place, plain_settings(described, len(path)))
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
        if file is not None:
            check_size(called, values)
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


def _facts(network: Callable[..., Any]) -> set[str]:
    """The settings of a network that the data tells."""
    from toughen.models.build import with_facts

    return set(with_facts(network, 0, 0, 0).keywords)


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


def _read(setting: Setting, given: list[Given], depth: int) -> Any:
    """A value of the setting's type. Of what a file says, nothing but plain data goes past the door."""
    words, hint = expected(setting.hint), setting.hint
    kinds = [get_origin(kind) or kind for kind in setting.kinds]
    if kinds == [Mapping]:  # stays plain: whoever takes it builds what it describes, through the door
        return _plain_mapping(given, depth, words)
    given = [each for each in given if each.layer == given[-1].layer]
    place, value, is_text = given[0].outer(depth), given[0].value, given[0].is_text
    for each in (each for each in given if len(each.path) > depth):
        if dict not in kinds and Any not in kinds:
            raise InputError(f"{each.place}: {place} has no settings within, it takes a value: {words}")
        value, is_text = plain_data(given, depth), False
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


def _plain_mapping(given: list[Given], depth: int, words: str) -> dict[str, Any]:
    """What files and options say together; an option goes over what a file says in the same place."""
    found: dict[str, Any] = {}
    for each in given:
        value = each.read()
        if len(each.path) == depth and not isinstance(value, dict):
            raise InputError(f"{each.place}: expected {words}, got {'nothing' if value is BARE else repr(value)}")
        first, *rest = each.path[depth:] or ("",)
        value = {".".join(rest): value} if rest else value
        found = _over(found, {first: value} if first else value)
    return found


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {name: each for name, each in below.items() if isinstance(each, dict) and isinstance(above.get(name), dict)}
    return {**below, **above, **{name: _over(each, above[name]) for name, each in both.items()}}


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
    arguments = init_args(value, where.place)
    called: Any = import_from_file(value["class_path"], where.place, arguments, base=None, file=where.file)
    setting = Setting(where.path[-1], called, REQUIRED)
    if setting.base is None:  # trusted, and of no kind
        with described_in(where.file):
            return called(**_rebuilt(arguments, where))
    return build(setting, [replace(where, value=value, is_text=False)], where.path)
