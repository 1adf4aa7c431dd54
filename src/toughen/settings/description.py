"""Settings as plain data: an object becomes the `class_path` / `init_args` that rebuilds it."""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any


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


def changed(value: Any) -> str:
    """The plain settings of an object that are not their defaults, for its short representation.

    >>> from toughen.methods import TRADES
    >>> changed(TRADES(beta=3.0))
    'beta=3.0'
    """
    given = [
        (name, getattr(value, name), parameter.default)
        for name, parameter in inspect.signature(type(value)).parameters.items()
        if hasattr(value, name)
    ]
    return ", ".join(
        f"{name}={str(now)!r}" if hasattr(now, "__fspath__") else f"{name}={now!r}"
        for name, now, default in given
        if (now is None or isinstance(now, bool | int | float | str) or hasattr(now, "__fspath__")) and now != default
    )


def arguments_of(waiting: partial[Any]) -> dict[str, Any]:
    """The arguments that a partial already holds, all by name.

    >>> from toughen.threat import ThreatModel
    >>> arguments_of(partial(ThreatModel, "l2", eps=0.5))
    {'norm': 'l2', 'eps': 0.5}
    """
    by_place = inspect.signature(waiting.func).bind_partial(*waiting.args).arguments if waiting.args else {}
    return {**by_place, **waiting.keywords}


def path_of(thing: Callable[..., Any]) -> str:
    """Import path of a class or function; of one in a file that the user named, `code/net.py:Net`."""
    home = str(thing.__module__)
    return f"{home}{':' if home.endswith(('.py', '.pt2')) else '.'}{thing.__qualname__}"


def default_name(*parts: Any) -> str:
    """`digits-small_cnn-trades` and the like, for the run's folder."""
    described = [describe(part) for part in parts]
    called = [re.split(r"[.:]", each["class_path"])[-1] for each in described]
    names = [str(each["init_args"].get("name") or name) for each, name in zip(described, called, strict=True)]
    return "-".join(re.sub(r"[^\w.]+", "_", Path(name).name) for name in names).lower()
