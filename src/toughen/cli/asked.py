"""What was asked for, from the command line and from YAML files, before the types of the settings are known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toughen import catalog
from toughen.cli.plain import load
from toughen.errors import InputError

NOTHING = object()
"""No value: only settings within were asked for."""
BARE = object()
"""An option without a value, such as `--overwrite`."""


@dataclass
class Asked:
    """What one source asks of one setting.

    Attributes:
        place: what messages call it: `--method.beta`, or `my.yaml: method.beta`.
        value: text from the command line, plain data from a file, `NOTHING` or `BARE`.
        is_text: whether the value is still to be read according to its type.
        inside: what is asked of the settings within, by name.
    """

    place: str
    value: Any = NOTHING
    is_text: bool = False
    inside: dict[str, "Asked"] = field(default_factory=dict)


@dataclass
class Words:
    """The command line's words, sorted.

    Attributes:
        free: arguments without an option.
        options: each option's name, such as `method.beta`, and its value or `BARE`, in the order given.
    """

    free: list[str]
    options: list[tuple[str, Any]]


def split(words: Iterable[str], switches: Iterable[str] = ()) -> Words:
    """Sort the words of a command line; an option takes at most one word.

    `-` in an option's name may stand for `_`. One of `switches` takes a word only if that is true or false.

    >>> split(["runs/a", "--seed", "-1", "--method.beta=6", "--overwrite"]).options == [
    ...     ("seed", "-1"), ("method.beta", "6"), ("overwrite", BARE)]
    True
    """
    found, switches = Words([], []), set(switches)
    waiting = False
    for word in words:
        if word in ("-h", "--help"):
            found.options.append(("help", BARE))
            waiting = False
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found.options.append((name.replace("-", "_"), value if equals else BARE))
            waiting = not equals
        elif word.startswith("-") and not word[1:2].isdigit() and word[1:2] not in ("", "."):
            raise InputError(f"unknown option {word}; options have two dashes, such as --seed 1")
        elif waiting and (found.options[-1][0] not in switches or word.lower() in ("true", "false", "yes", "no")):
            found.options[-1] = (found.options[-1][0], word)
            waiting = False
        else:
            found.free.append(word)
            waiting = False
    return found


def from_options(options: Iterable[tuple[str, Any]]) -> dict[str, Asked]:
    """Options as a tree by the dots in their names.

    Raises:
        InputError: an option was given twice.
    """
    root = Asked("the command line")
    for name, value in options:
        node, parts = root, name.split(".")
        for depth, part in enumerate(parts, start=1):
            node = node.inside.setdefault(part, Asked(f"--{'.'.join(parts[:depth])}"))
        if node.value is not NOTHING:
            shown = " and ".join("no value" if each is BARE else repr(each) for each in (node.value, value))
            raise InputError(f"--{name} is given twice, with {shown}; give it once")
        node.value, node.is_text = value, True
    return root.inside


def from_mapping(mapping: Mapping[Any, Any], place: str) -> dict[str, Asked]:
    """Settings in plain data, such as a file's; `place` says where they stand."""
    return {str(name): Asked(f"{place}{name}", value) for name, value in mapping.items()}


def from_file(name: str) -> dict[str, Asked]:
    """The settings in a YAML file, or in a shipped recipe.

    Raises:
        InputError: no such file or recipe, not YAML, or no settings in it.
    """
    file = catalog.find_recipe(name)
    try:
        content = load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise InputError(f"--config: {file}{where}: not YAML: {error.problem or error}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--config: {file} cannot be read: {' '.join(str(error).split())}; expected YAML") from error
    if not isinstance(content, dict):
        given = repr(content)
        raise InputError(
            f"--config: {file}: expected settings such as 'epochs: 30', got {given[:60]}{'...' * (len(given) > 60)}"
        )
    return from_mapping(content, f"{Path(file).name}: ")
