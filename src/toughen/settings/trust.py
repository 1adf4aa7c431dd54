"""Whose code may be run: what a file may name by itself, and what the user trusts beside it.

Trust is off by default, as PyTorch's `weights_only` and transformers' `trust_remote_code` are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from toughen.errors import InputError
from toughen.settings.description import path_of

P = ParamSpec("P")
R = TypeVar("R")

LIBRARIES = ("torch.optim", "torch.nn", "torchvision.models", "timm.models", "transformers")
"""Where classes that a file may name lie, beside this package."""

_TRUSTED: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


def is_known(path: str) -> bool:
    """Whether a file may name something there; looks at the name alone and imports nothing."""
    parts = path.split(".")
    if not all(part.isidentifier() and not part.startswith("__") for part in parts):
        return False
    return any(path.startswith(f"{place}.") for place in ("toughen", *LIBRARIES))


@contextmanager
def trusting(names: Iterable[str]) -> Iterator[None]:
    """Let files name these packages, modules or classes too while the block runs, and what was trusted around it.

    Raises:
        InputError: one is no dotted name.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w+(\.\w+)*|(code/)?[\w-]+\.(py|pt2)(:\w+)?", name):
            raise InputError(
                "--trust: expected a package, a module or a class such as my_package.Net, or a run's code/net.py, got "
                f"{name!r}"
            )
    token = _TRUSTED.set((*_TRUSTED.get(), *names))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def obeying_trust(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with what its argument `trust` names trusted while it runs, and the classes of its other arguments.

    Who passes a network of a class of his own trusts that class, whatever file names it.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        names: Any = kwargs.get("trust") or ()
        own = [path for value in (*args, *kwargs.values()) if (path := _own_class(value)) is not None]
        with trusting([*([names] if isinstance(names, str) else names), *own]):
            return function(*args, **kwargs)

    return call


def _own_class(value: Any) -> str | None:
    """The import path of an argument's class, where that is neither this package's nor of a known library."""
    value = value.func if isinstance(value, partial) else value
    called = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    path = path_of(called)
    plain = called.__module__ == "builtins" or is_known(path) or "<" in path
    return None if plain else path


def is_trusted(path: str) -> bool:
    """Whether the user has named this class, or its module or package."""
    return any(path == name or path.startswith((f"{name}.", f"{name}:", f"{name}/")) for name in _TRUSTED.get())


def trust_option(described: Any) -> str:
    """` --trust my_package.Net` for a command that reads this configuration again; empty where it needs none."""
    needed = sorted(set(_foreign(described)))
    return f" --trust {','.join(needed)}" if needed else ""


def _foreign(described: Any) -> Iterator[str]:
    if isinstance(described, list):
        for item in described:
            yield from _foreign(item)
    elif isinstance(described, dict):
        path = described.get("class_path")
        if isinstance(path, str) and "." in path and not is_known(path):
            yield path
        for item in described.values():
            yield from _foreign(item)
