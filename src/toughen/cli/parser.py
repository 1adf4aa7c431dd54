"""The command line of a typed function: its parameters are the options, its docstring is the help.

A value is read by jsonargparse according to its type. A class is named without its path, and its constructor's
settings are options of their own (`--method TRADES --method.beta 6`), in any order. YAML files say the same; the
command line overrides them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

import yaml

from toughen import catalog
from toughen.cli.asked import BARE, Asked, Words, from_file, from_options, split
from toughen.cli.build import build
from toughen.cli.choice import layered
from toughen.cli.help import class_help, page
from toughen.cli.nearest import nearest_option
from toughen.cli.settings import REQUIRED, settings_of
from toughen.config import describe, path_of
from toughen.errors import InputError


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        settings: keyword arguments for the function, defaults included.
        asked: the names of those that were asked for, by the command line or a file.
    """

    settings: dict[str, Any]
    asked: frozenset[str]


class Parser:
    """The command line of one function.

    Args:
        function: typed, with a Google-style docstring.
        positional: the parameter that takes arguments without an option, if any; a list takes all of them.
        examples: shown at the end of the help.
        skip: parameters that only Python callers have.
        groups: titles of the help and the parameters under each; what is in none comes last.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        positional: str = "",
        examples: str = "",
        skip: Iterable[str] = (),
        groups: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.function, self.positional, self.examples = function, positional, examples
        self.name, self.groups = function.__name__, groups or {}
        self.settings = {name: item for name, item in settings_of(function).items() if name not in skip}

    def parse(self, arguments: Iterable[str]) -> Request | None:
        """What is asked for; None where that was a text, which is printed: help, or the configuration.

        Raises:
            InputError: what was wrong, what came, what was expected, with the nearest name where a name was wrong.
        """
        words = split(arguments, [name for name, setting in self.settings.items() if setting.is_switch])
        names = [name for name, _ in words.options]
        if "help" in names:
            print(page(self.name, self.function, self.settings, self.positional, self.groups, self.examples))
            return None
        layers = self._layers(words)
        for name, value in words.options:
            if name.endswith(".help"):
                print(class_help(self.settings, layers, name.removesuffix(".help"), None if value is BARE else value))
                return None
        settings = self._build(layers)
        if "print_config" in names:
            print(self._configuration(settings), end="")
            return None
        return Request(settings, frozenset(layers))

    def _layers(self, words: Words) -> dict[str, list[Asked]]:
        """What the files, then the options ask for, all of it known settings."""
        files = [value for name, value in words.options if name == "config"]
        if BARE in files:
            raise InputError("--config needs a value: a YAML file, or a recipe that `toughen list recipes` names")
        special = ("config", "print_config")
        options = [(name, value) for name, value in words.options if name not in special and not name.endswith(".help")]
        layers = layered([*map(from_file, files), from_options(options), self._free(words)])
        for name, (first, *_) in layers.items():
            if name not in self.settings:
                known = nearest_option(first, self.settings, layers)
                option = first.place.startswith("--")
                what = f"unknown option {first.place}" if option else f"{first.place}: unknown setting"
                raise InputError(f"{what}; {known or f'`toughen {self.name} --help` lists them all'}")
        return layers

    def _free(self, words: Words) -> dict[str, Asked]:
        """Arguments without an option, as values of the positional parameter."""
        if not words.free:
            return {}
        first, place = words.free[0], self.positional.upper()
        if any(name == self.positional for name, _ in words.options):
            raise InputError(f"{place} is given twice: {first!r}, and by --{self.positional}; give it once")
        if not self.positional:
            hint = f"did you mean --config {first}?" if _is_recipe(first) else f"see toughen {self.name} --help"
            raise InputError(
                f"unexpected argument {first!r}; {self.name} takes options, each with one value (a list is written "
                f"a,b); {hint}"
            )
        if get_origin(self.settings[self.positional].hint) is list:
            return {self.positional: Asked(place, words.free)}
        if len(words.free) > 1:
            raise InputError(
                f"{self.name} takes one {place}, got {len(words.free)}: {' '.join(words.free)}; expected "
                "options with two dashes after it"
            )
        return {self.positional: Asked(place, first)}

    def _build(self, layers: Mapping[str, list[Asked]]) -> dict[str, Any]:
        settings = {}
        for name, setting in self.settings.items():
            if name in layers:
                settings[name] = build(setting, layers[name], name)
            elif setting.default is REQUIRED:
                option = name.upper() if name == self.positional else f"--{name}"
                raise InputError(
                    f"{self.name} needs {option}: {setting.help.rstrip('.')}; see toughen {self.name} --help"
                )
            elif setting.is_factory and setting.default is not None:
                settings[name] = build(setting, [], name)
            else:
                settings[name] = setting.default
        return settings

    def _configuration(self, settings: dict[str, Any]) -> str:
        """All settings as YAML that `--config` takes, classes by their short names."""
        names = {entry.path: name for kind in catalog.KINDS for name, entry in catalog.classes(kind).items()}
        only = [item.base for item in self.settings.values() if item.base and item.is_only]
        names.update({path_of(base): base.__name__ for base in only})
        content = yaml.safe_dump(_short(describe(settings), names), sort_keys=False)
        return f"# toughen {self.name} --config THIS_FILE\n{content}"


def _is_recipe(name: str) -> bool:
    try:
        return catalog.find_recipe(name).is_file()
    except InputError:
        return False


def _short(described: Any, names: Mapping[str, str]) -> Any:
    """A description with the names of classes in place of their import paths."""
    if isinstance(described, list):
        return [_short(item, names) for item in described]
    if not isinstance(described, dict):
        return described
    path = described.get("class_path")
    shortened = {name: _short(value, names) for name, value in described.items()}
    return {**shortened, "class_path": names.get(path, path)} if path else shortened
