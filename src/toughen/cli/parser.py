"""From a typed function to its command line and YAML, by jsonargparse, and what we add to that.

We add: names of classes without their path and with 'did you mean', recipes by name, `--method.lam 3 --method ARoW` in
either order, a switch such as `--overwrite` without `true`, and errors of one line.
"""

import inspect
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from torch import nn

from toughen import catalog
from toughen.config import import_path
from toughen.errors import InputError, did_you_mean

KINDS = {
    "data": "data",
    "model": "models",
    "method": "methods",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "average": "averages",
    "attack": "attacks",
}
"""The options whose value names a class, by their last part, and the kind of class."""


class Parser:
    """The command line of one function.

    Args:
        function: typed, with a Google-style docstring.
        positional: the option that takes arguments without a flag, if any; a list one takes all of them.
        examples: shown at the end of the help.
        skip: parameters that only Python callers have.
    """

    def __init__(
        self, function: Callable[..., Any], positional: str | None = None, examples: str = "", skip: Iterable[str] = ()
    ) -> None:
        self.function, self.positional = function, positional
        command = function.__name__
        summary = (function.__doc__ or "").partition("\n")[0]
        place = f" {positional.upper()}" if positional else ""
        self.parser = ArgumentParser(
            prog=f"toughen {command}",
            usage=f"toughen {command}{place} [--config FILE_OR_RECIPE] [OPTIONS]",
            description=summary,
            epilog=examples,
            exit_on_error=False,
            allow_abbrev=False,
            default_env=False,
        )
        self.parser.add_argument("--config", action="config", help="YAML file, or the name of a shipped recipe.")
        parameters = inspect.signature(function).parameters
        apart = {"model"} & set(parameters)
        self.parser.add_function_arguments(function, as_positional=False, skip=set(skip) | apart)
        for name in apart:
            # Callable[..., nn.Module] would drop a network's first setting; a default is no factory to jsonargparse.
            kind = Callable[[], nn.Module]
            self.parser.add_argument(
                f"--{name}", type=kind, default=parameters[name].default, help=_help_of(function, name)
            )

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """Keyword arguments for the function, instantiated.

        Raises:
            InputError: one line on what was wrong, with the nearest name where a name was.
        """
        prepared = self._prepare(arguments)
        try:
            parsed = self.parser.parse_args(prepared)
            model = parsed.pop("model", None)
            built = self.parser.instantiate(parsed) if hasattr(self.parser, "instantiate") else parsed
        except (ArgumentError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(self._explain(str(error))) from error
        keywords = {name: value for name, value in vars(built).items() if name not in ("config", "print_config")}
        if model is not None:
            keywords["model"] = _factory(model)
        return keywords

    def _prepare(self, arguments: list[str]) -> list[str]:
        """Positional arguments by name, class names in full, recipes as content, classes before their settings."""
        free = 0
        while free < len(arguments) and not arguments[free].startswith("-"):
            free += 1
        pairs: list[tuple[str, str | None]] = []
        if free and not self.positional:
            raise InputError(f"unexpected argument {arguments[0]!r}; options start with --")
        if free and self.positional:
            several = self.positional.endswith("s")
            if free > 1 and not several:
                raise InputError(f"expected one {self.positional}, got {free}: {' '.join(arguments[:free])}")
            pairs.append((f"--{self.positional}", json.dumps(arguments[:free]) if several else arguments[0]))
        for word in arguments[free:]:
            if word.startswith("--"):
                option, equals, value = word.partition("=")
                pairs.append((option, value if equals else None))
            elif pairs and pairs[-1][1] is None:
                pairs[-1] = (pairs[-1][0], word)
            elif word in ("-h",):
                pairs.append(("--help", None))
            else:
                raise InputError(f"unexpected argument {word!r} after {pairs[-1][0] if pairs else 'the command'}")
        self._check_names(pairs)
        pairs = [(option, self._value(option, value)) for option, value in pairs]
        pairs.sort(key=lambda pair: _rank(pair[0]))
        return [word for option, value in pairs for word in ((option,) if value is None else (f"{option}={value}",))]

    def _value(self, option: str, value: str | None) -> str | None:
        kind = KINDS.get(option.rpartition(".")[2].lstrip("-"))
        if value is None:
            return "true" if option.lstrip("-") in self._switches() else None
        if option == "--config":
            file = catalog.find_recipe(value)
            try:
                content = yaml.safe_load(file.read_text())
            except yaml.YAMLError as error:
                raise InputError(f"--config {file}: not YAML: {error}") from error
            if not isinstance(content, dict):
                raise InputError(f"--config {file}: expected settings such as 'epochs: 30', got {content!r}")
            return json.dumps(_with_paths(content))
        if option.endswith(".help") and option.count(".") == 1:
            kind = KINDS.get(option[2:-5])
        if kind and value not in ("null", "None") and not value.startswith("{"):
            return catalog.find(kind, value, option)
        return value

    def _check_names(self, pairs: list[tuple[str, str | None]]) -> None:
        """An option must exist, as far as that can be known before the classes are chosen."""
        known = {word[2:] for action in self.parser._actions for word in action.option_strings if word[:2] == "--"}
        roots = {name.partition(".")[0] for name in known}
        for option, _ in pairs:
            name = option.lstrip("-")
            if name not in known and ("." not in name or name.partition(".")[0] not in roots):
                raise InputError(f"unknown option {option}; {_nearest(name, known | roots)}")

    def _switches(self) -> set[str]:
        return {name for name, kind in self.function.__annotations__.items() if kind is bool}

    def _explain(self, message: str) -> str:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        text = " ".join(lines)
        return f"{text} (toughen {self.function.__name__} --help explains every option)"


def _nearest(name: str, known: set[str]) -> str:
    said = did_you_mean(name, known)
    return said.replace("did you mean '", "did you mean '--").partition(" Known:")[0] if "did you" in said else (
        "see --help"
    )


def _rank(option: str) -> int:
    """--config first, then the names of classes, outer before inner, then everything else in its order."""
    if option == "--config":
        return 0
    parts = option.lstrip("-").split(".")
    return len(parts) if parts[-1] in KINDS else 100


def _with_paths(content: dict[str, Any]) -> dict[str, Any]:
    """A YAML file's settings with the import paths of the classes that it names."""
    settings = {}
    for key, value in content.items():
        kind = KINDS.get(key)
        if kind and isinstance(value, str):
            value = {"class_path": catalog.find(kind, value, key)}
        elif kind and isinstance(value, dict) and "class_path" in value:
            value = {**value, "class_path": catalog.find(kind, value["class_path"], key)}
            if "init_args" in value:
                value["init_args"] = _with_paths(value["init_args"] or {})
        settings[key] = value
    return settings


def _factory(described: Any) -> Callable[..., Any]:
    """The network's class, waiting for the data's facts; jsonargparse would build it now."""
    if isinstance(described, Namespace):
        arguments = described.get("init_args") or Namespace()
        return partial(import_path(described["class_path"]), **vars(arguments))
    return described if callable(described) else import_path(described)



def _help_of(function: Callable[..., Any], name: str) -> str:
    described = parse_docstring(function.__doc__ or "")
    return next(item.description or "" for item in described.params if item.arg_name == name)
