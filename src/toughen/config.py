"""Settings as plain data: an object becomes the `class_path` / `init_args` that rebuilds it, and back."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from toughen.errors import InputError


def describe(value: Any) -> Any:
    """The plain-data form of a setting, for `config.yaml`.

    Objects are described by their constructor: every argument is read from the attribute of the same name (the
    convention of scikit-learn's estimators). A class or a `functools.partial` of one, which still waits for
    arguments, is described the same way.

    >>> from toughen.threat import ThreatModel
    >>> describe(ThreatModel("l2", 0.5))
    {'norm': 'l2', 'eps': 0.5}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: describe(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, partial):
        return {"class_path": path_of(value.func), "init_args": describe(value.keywords)}
    if isinstance(value, type) or inspect.isfunction(value):
        return {"class_path": path_of(value), "init_args": {}}
    if hasattr(value, "__fspath__"):
        return str(value)
    arguments = {}
    for name, parameter in inspect.signature(type(value).__init__).parameters.items():
        kind = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name != "self" and not kind and hasattr(value, name):
            arguments[name] = describe(getattr(value, name))
    return {"class_path": path_of(type(value)), "init_args": arguments}


def path_of(thing: Callable[..., Any]) -> str:
    """Import path of a class or function."""
    return f"{thing.__module__}.{thing.__qualname__}"


def import_path(path: str) -> Callable[..., Any]:
    """The class or function at a dotted import path.

    Raises:
        InputError: the module or the name in it does not exist.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import {path!r}: {error}; expected package.module.Name") from error


def instantiate(described: dict[str, Any], **extra: Any) -> Any:
    """Build what `describe` wrote; `extra` are further keyword arguments."""
    arguments = {
        name: instantiate(item) if isinstance(item, dict) and "class_path" in item else item
        for name, item in (described.get("init_args") or {}).items()
    }
    return import_path(described["class_path"])(**{**arguments, **extra})
