"""What the command line and YAML files say of each setting, before the types of the settings are known."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toughen import catalog
from toughen.errors import InputError
from toughen.reading.schema import UnfitError, shown
from toughen.reading.yaml_text import load_yaml, read_yaml

BARE = object()
"""The value of an option without one, such as `--overwrite`."""


@dataclass(frozen=True)
class Given:
    """What one source says of one setting.

    Attributes:
        path: the setting's name, after those of the settings that it lies in: ("method", "beta").
        place: what messages call it: `--method.beta`, or `my.yaml: method.beta`.
        value: text from the command line, plain data from a file, or `BARE`.
        layer: number of the source; a later one overrides an earlier one.
        is_text: whether the value is still to be read according to its type.
        file: the file that says it; None: the user's own word.
    """

    path: tuple[str, ...]
    place: str
    value: Any
    layer: int = 0
    is_text: bool = False
    file: str | None = None

    def within(self, content: Mapping[Any, Any]) -> "list[Given]":
        """What a mapping in this place says of the settings within."""
        inner = replace(self, is_text=False)
        return [
            replace(inner, path=(*self.path, str(name)), place=f"{self.place}.{name}", value=value)
            for name, value in content.items()
        ]

    def outer(self, depth: int) -> str:
        """What messages call the setting in whose place the path has this length."""
        return self.place.rsplit(".", len(self.path) - depth)[0] if len(self.path) > depth else self.place

    def read(self) -> Any:
        """The plain data: the value, or what its text says in YAML.

        Raises:
            InputError: the text is not YAML.
        """
        try:
            return load_yaml(self.value) if self.is_text and isinstance(self.value, str) else self.value
        except UnfitError as error:
            expectation = "expected a value or YAML such as {width: 32}"
            raise InputError(f"{self.place}: {expectation}, got {self.value!r}") from error


def split(words: Iterable[str], switches: Iterable[str] = ()) -> tuple[list[str], list[tuple[str, Any]]]:
    """The arguments without an option, and each option's name with its value or `BARE`, in the order given.

    An option takes at most one word. `-` in its name may stand for `_`. One of `switches` takes a word only if that is
    true or false.

    >>> split(["runs/a", "--seed", "-1", "--method.beta=6"])
    (['runs/a'], [('seed', '-1'), ('method.beta', '6')])
    """
    free: list[str] = []
    options: list[tuple[str, Any]] = []
    waiting, switches = False, set(switches)
    for word in words:
        if word == "-h" or word.startswith("--"):
            name, equals, value = ("--help" if word == "-h" else word)[2:].partition("=")
            options.append((name.replace("-", "_"), value if equals else BARE))
            waiting = not equals and name != "help"
        elif re.match(r"-[^\d.]", word):
            raise InputError(f"unknown option {word}; options have two dashes, such as --seed 1")
        elif waiting and (options[-1][0] not in switches or word.lower() in ("true", "false", "yes", "no")):
            options[-1] = (options[-1][0], word)
            waiting = False
        else:
            free.append(word)
            waiting = False
    return free, options


def from_options(options: Iterable[tuple[str, Any]], layer: int = 0) -> list[Given]:
    """What options say.

    Raises:
        InputError: one was given twice.
    """
    seen: dict[str, Any] = {}
    for name, value in options:
        if name in seen:
            shown = " and ".join("no value" if each is BARE else repr(each) for each in (seen[name], value))
            raise InputError(f"--{name} is given twice, with {shown}; give it once")
        seen[name] = value
    return [
        Given(tuple(name.split(".")), f"--{name}", value, layer, is_text=isinstance(value, str))
        for name, value in seen.items()
    ]


def from_file(name: Any, layer: int = 0) -> list[Given]:
    """What a YAML file says, or a shipped recipe.

    Raises:
        InputError: no such file or recipe, not YAML, or no settings in it.
    """
    if name is BARE:
        raise InputError("--config needs a value: a YAML file, or a recipe that `toughen list recipes` names")
    file = catalog.find_recipe(name)
    try:
        content = read_yaml(file)
    except (OSError, UnfitError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"--config: {file}: {why or error}") from error
    if not isinstance(content, dict):
        raise InputError(f"--config: {file}: expected settings such as 'epochs: 30', got {shown(content)}")
    place = f"{Path(file).name}: "
    return [Given((str(each),), f"{place}{each}", value, layer, file=str(file)) for each, value in content.items()]


def by_name(given: Iterable[Given], depth: int = 0) -> dict[str, list[Given]]:
    """What is given of each setting within those at this depth, by its name."""
    found: dict[str, list[Given]] = {}
    for each in given:
        if len(each.path) > depth:
            found.setdefault(each.path[depth], []).append(each)
    return found


def plain_settings(given: list[Given], depth: int) -> dict[str, Any]:
    """What is given of the settings within, as plain data."""
    return {name: plain_data(each, depth + 1) for name, each in by_name(given, depth).items()}


def plain_data(given: list[Given], depth: int) -> Any:
    """What is given of a free-form dict, whose settings have no types."""
    whole = next((each.read() for each in given if len(each.path) == depth), None)
    inner = plain_settings(given, depth)
    return {**(whole if isinstance(whole, dict) else {}), **inner} if inner else whole


def init_args(described: dict[Any, Any], place: str) -> dict[str, Any]:
    """The settings in `class_path` and `init_args`.

    Raises:
        InputError: there is more beside them, or `init_args` are no settings.
    """
    found = described.get("init_args")
    if set(described) - {"class_path", "init_args"} or not isinstance(found, dict | None):
        got = ", ".join(map(str, described)) if isinstance(found, dict | None) else f"init_args: {found!r:.100}"
        raise InputError(f"{place}: expected class_path and its settings under init_args, got {got}")
    return found or {}
