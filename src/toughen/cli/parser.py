"""The command line of a typed function: its parameters are the options, its docstring is the help.

A value is read by jsonargparse according to its type. A class is named without its path, and its constructor's
settings are options of their own (`--method TRADES --method.beta 6`), in any order. YAML files say the same; the
command line overrides them. docs/decisions/0010 says why jsonargparse does not read the whole command line.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_origin

import yaml

from toughen import catalog
from toughen.cli.console import say
from toughen.cli.help import class_help, page
from toughen.errors import InputError, did_you_mean
from toughen.settings.build import build, walk
from toughen.settings.description import describe, path_of
from toughen.settings.given import BARE, Given, by_name, from_file, from_options, split
from toughen.settings.signature import LISTS, REQUIRED, packed, settings_of
from toughen.settings.trust import trusting


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        settings: keyword arguments for the function, defaults included.
        asked: the names of the options that were given, by the command line or a file.
    """

    settings: dict[str, Any]
    asked: frozenset[str]


UNSAID = ("trust", "overwrite")
"""Settings that only the command line gives: what may be run, and what may be replaced."""


class Parser:
    """The command line of one function.

    Args:
        function: typed, with a Google-style docstring. The fields of a dataclass that it takes as `settings` are
            options like its own.
        positional: the parameters that take arguments without an option, in order, such as "run images";
            a list takes all that are left.
        examples: shown at the end of the help.
        skip: parameters that only Python callers have.
        groups: titles of the help and the parameters under each; what is in none comes last.
        takes_file: whether arguments without an option are files of settings, as those of --config are.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        positional: str = "",
        examples: str = "",
        skip: Iterable[str] = (),
        groups: Mapping[str, Iterable[str]] | None = None,
        takes_file: bool = False,
    ) -> None:
        self.function, self.examples = function, examples
        self.positional = positional.split()
        self.name, self.groups, self.takes_file = function.__name__, groups or {}, takes_file
        self.settings = {name: item for name, item in settings_of(function).items() if name not in skip}

    def parse(self, arguments: Iterable[str]) -> Request | None:
        """What is asked for; None where that was a text, which is printed: help, or the configuration.

        Raises:
            InputError: what was wrong, what came, what was expected, with the nearest name where a name was wrong.
        """
        switches = [name for name, setting in self.settings.items() if setting.kinds == [bool]]
        free, options = split(arguments, switches)
        names = [name for name, _ in options]
        if "help" in names:
            say(page(self))
            return None
        given = self._given(free, options)
        with trusting(self._trusted(given)):
            return self._read(names, options, given)

    def _trusted(self, given: list[Given]) -> list[str]:
        """What files may name beside what is known: what `--trust` says, and the classes of the command line."""
        said = [each for each in given if each.path[0] == "trust"]
        for each in (each for each in said if each.file is not None):
            raise InputError(f"{each.place}: a file cannot say what is trusted; give --trust on the command line")
        names = build(self.settings["trust"], said, ("trust",)) if said else []
        classes = [each for each in given if each.file is None and len(each.path) == 1 and isinstance(each.value, str)]
        return [*names, *(each.value for each in classes if self._names_own_class(each))]

    def _names_own_class(self, given: Given) -> bool:
        return self.settings[given.path[0]].base is not None and bool(re.fullmatch(r"\w+(\.\w+)+", given.value))

    def _read(self, names: list[str], options: list[tuple[str, Any]], given: list[Given]) -> Request | None:
        """What is asked for, of what is given."""
        for name, value in options:
            if name.endswith(".help"):
                say(class_help(self.settings, given, tuple(name.split(".")[:-1]), None if value is BARE else value))
                return None
        settings = self._build(given)
        if "print_config" in names:
            say(self._configuration(settings), end="")
            return None
        return Request(packed(self.function, settings), frozenset(each.path[0] for each in given))

    def _given(self, free: list[str], options: list[tuple[str, Any]]) -> list[Given]:
        """What the files, then the command line say, all of it of known settings."""
        files = [value for name, value in options if name == "config"]
        files, free = ([*free, *files], []) if self.takes_file else (files, free)
        own = [each for each in options if each[0] not in ("config", "print_config") and not each[0].endswith(".help")]
        given = [each for layer, file in enumerate(files) for each in from_file(file, layer)]
        given += from_options([*self._free(free), *own], len(files))
        for each in given:
            if each.path[0] not in self.settings:
                near = self._nearest(each.path[0], given)
                is_option = each.place.startswith("--")
                what = f"unknown option {each.place}" if is_option else f"{each.place}: unknown setting"
                hint = f"did you mean {'--' if is_option else ''}{near}?" if near else ""
                raise InputError(f"{what}; {hint or f'`toughen {self.name} --help` lists them all'}")
            if each.path[0] == "overwrite" and each.file is not None and each.value is not False:
                raise InputError(f"{each.place}: a file cannot say what is replaced; give --overwrite yourself")
        return given

    def _free(self, free: list[str]) -> list[tuple[str, Any]]:
        """Arguments without an option, as options: the positional parameters."""
        found: list[tuple[str, Any]] = []
        for name in self.positional:
            if get_origin(self.settings[name].hint) in LISTS:
                return [*found, (name, free)] if free else found
            found += [(name, each) for each in free[:1]]
            free = free[1:]
        if free:
            hint = f"see toughen {self.name} --help"
            with suppress(InputError):
                hint = f"did you mean --config {free[0]}?" if catalog.find_recipe(free[0]) else hint
            places = "".join(f"one {name.upper()} and " for name in self.positional)
            takes = f"{places}options, each with one value (a list is written a,b)"
            raise InputError(f"unexpected argument {free[0]!r}; {self.name} takes {takes}; {hint}")
        return found

    def _nearest(self, name: str, given: list[Given]) -> str:
        """The option that was probably meant, also of a class: `--beta` is `--method.beta` where the method has one."""
        paths = [".".join(path) for path, _ in walk(self.settings, given, deep=True) if path[1:] and path[-1] == name]
        near = did_you_mean(name, self.settings).partition("'")[2].partition("'")[0]
        return min(paths, key=len, default=near)

    def _build(self, given: list[Given]) -> dict[str, Any]:
        found, settings = by_name(given), {}
        for name, setting in self.settings.items():
            if name in found or (setting.is_factory and setting.default not in (None, REQUIRED)):
                settings[name] = build(setting, found.get(name, []), (name,))
            elif setting.default is REQUIRED:
                option = name.upper() if name in self.positional else f"--{name}"
                what = setting.help.rstrip(".")
                raise InputError(f"{self.name} needs {option}: {what}; see toughen {self.name} --help")
            else:
                settings[name] = setting.default
        return settings

    def _configuration(self, settings: dict[str, Any]) -> str:
        """All settings as YAML that `--config` takes, classes by their short names."""
        names = {entry.path: name for kind in catalog.KINDS for name, entry in catalog.classes(kind).items()}
        only = [item.base for item in self.settings.values() if item.base and item.is_only]
        names.update({path_of(base): base.__name__ for base in only})
        settings = {name: value for name, value in settings.items() if name not in UNSAID}
        content = yaml.safe_dump(describe(settings), sort_keys=False)
        short = re.sub(r"(?<=class_path: )\S+", lambda path: names.get(path[0], path[0]), content)
        return f"# toughen {self.name} --config THIS_FILE\n{short}"
