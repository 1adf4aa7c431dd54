"""Settings as plain data: an object becomes the `class_path` / `init_args` that rebuilds it, and back."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

from toughen.errors import InputError

_FORMER = {"toughen.attacks.ascent.Ascent": "toughen.attacks.gradient.GradientAttack"}
"""Paths that configurations of earlier versions name, with what is there now."""


def describe(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """The plain-data form of a setting, for `config.yaml`.

    Objects are described by their constructor: every argument is read from the attribute of the same name (the
    convention of scikit-learn's estimators). A class or a `functools.partial` of one, which still waits for
    arguments, is described the same way. An object that is met again inside itself, as a traced graph is inside the
    module that it belongs to, is described by its class alone; `inside` are the ids of those it is in.

    >>> from toughen.threat import ThreatModel
    >>> describe(ThreatModel("l2", 0.5))
    {'norm': 'l2', 'eps': 0.5}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Real):  # NumPy's numbers too, which YAML cannot write
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, dict):
        return {str(key): describe(item, inside) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item, inside) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: describe(getattr(value, field.name), inside) for field in fields(value) if field.init}
    if isinstance(value, partial):
        return {"class_path": path_of(value.func), "init_args": describe(arguments_of(value), inside)}
    if isinstance(value, type) or inspect.isfunction(value):
        return {"class_path": path_of(value), "init_args": {}}
    if hasattr(value, "__fspath__"):
        return str(value)
    arguments = {}
    for name, parameter in inspect.signature(type(value).__init__).parameters.items():
        kind = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name != "self" and not kind and hasattr(value, name) and id(value) not in inside:
            arguments[name] = describe(getattr(value, name), (*inside, id(value)))
    return {"class_path": path_of(type(value)), "init_args": arguments}


def arguments_of(waiting: partial[Any]) -> dict[str, Any]:
    """The arguments that a partial already holds, all by name.

    >>> from toughen.threat import ThreatModel
    >>> arguments_of(partial(ThreatModel, "l2", eps=0.5))
    {'norm': 'l2', 'eps': 0.5}
    """
    by_place = inspect.signature(waiting.func).bind_partial(*waiting.args).arguments if waiting.args else {}
    return {**by_place, **waiting.keywords}


def path_of(thing: Callable[..., Any]) -> str:
    """Import path of a class or function."""
    return f"{thing.__module__}.{thing.__qualname__}"


def import_path(path: str) -> Callable[..., Any]:
    """The class or function at a dotted import path.

    Raises:
        InputError: the module or the name in it does not exist.
    """
    module, _, name = path.rpartition(".")
    if "<" in path:
        raise InputError(
            f"{path!r} was a lambda or a function within another, which cannot be imported again; give a function or "
            "class of a module, or a functools.partial of it"
        )
    try:
        if module.startswith("."):
            raise ImportError("it is relative")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import {path!r}: {error}; expected package.module.Name") from error


def instantiate(described: dict[str, Any], **extra: Any) -> Any:
    """Build what `describe` wrote; `extra` are further keyword arguments.

    Raises:
        InputError: the class cannot be imported, or takes other arguments.
    """
    path = _FORMER.get(described["class_path"], described["class_path"])
    arguments = {**_rebuilt(described.get("init_args") or {}), **extra}
    function = import_path(path)
    try:
        return function(**arguments)
    except TypeError as error:
        raise InputError(f"{path} cannot be built with {arguments}: {error}") from error


def _rebuilt(value: Any) -> Any:
    """Plain data with every described object in it built."""
    if isinstance(value, list):
        return [_rebuilt(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_path" in value:
        return instantiate(value)
    return {name: _rebuilt(item) for name, item in value.items()}
