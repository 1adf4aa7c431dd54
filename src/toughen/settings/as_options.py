"""Settings as the words of a command line that gives them."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from toughen import catalog
from toughen.errors import InputError
from toughen.settings.names import import_path
from toughen.settings.signature import settings_of


def as_options(values: Mapping[str, Any]) -> str:
    """` --name value` for each setting, quoted for a shell; what a class has by default is left out.

    Args:
        values: plain data by dotted name; classes as names, or as class_path and init_args.

    >>> as_options({"method": "TRADES", "method.beta": 3, "trackers": [], "awp": None})
    " --method TRADES --method.beta 3 --trackers '' --awp null"
    """
    words = (word for name, value in values.items() for word in _words(name, value))
    return "".join(f" {shlex.quote(word)}" for word in words)


def _words(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        inner = value
        if "class_path" in value:
            yield from (f"--{name}", _short(value["class_path"]))
            inner = _not_usual(value["class_path"], value.get("init_args") or {})
        for key, each in inner.items():
            yield from _words(f"{name}.{key}", each)
    else:
        yield from (f"--{name}", _text(value))


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value)


def _short(path: str) -> str:
    """The name of a class that has one; else its path."""
    names = {entry.path: name for kind in catalog.KINDS for name, entry in catalog.classes(kind).items()}
    return names.get(path, path)


def _not_usual(path: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    known = {}
    with suppress(InputError):
        known = settings_of(import_path(path)) if path.startswith("toughen.") else {}
    return {name: each for name, each in arguments.items() if name not in known or known[name].default != each}
