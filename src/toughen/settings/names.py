"""Classes and functions by their import paths, as the user names them."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from toughen.errors import InputError
from toughen.settings.own_files import import_from_code, names_file
from toughen.settings.trust import is_known

_FOLDER: ContextVar[str | None] = ContextVar("folder", default=None)


@contextmanager
def finding_own_code_in(folder: Path) -> Iterator[None]:
    """Find what the user names in this folder too, once there is such a name.

    Not before: with the folder on the path from the start, a `wandb.py` of a stranger in it would stand in for a
    library that is not installed.
    """
    token, paths = _FOLDER.set(str(folder)), sys.path.copy()
    try:
        yield
    finally:
        _FOLDER.reset(token)
        sys.path[:] = paths


def import_path(path: str) -> Callable[..., Any]:
    """The class or function that the user names by a dotted import path, or in a file, as `net.py:build`.

    Raises:
        InputError: the module or the name in it does not exist.
    """
    if "<" in path:
        raise InputError(
            f"{path!r} was a lambda or a function within another, which cannot be imported again; give a function or "
            "class of a module, or a functools.partial of it"
        )
    if names_file(path):
        return import_from_code(path)
    folder = _FOLDER.get()
    if folder is not None and folder not in sys.path and not is_known(path):
        sys.path.append(folder)  # last, so that it hides no other
    module, _, name = path.rpartition(".")
    try:
        if module.startswith("."):
            raise ImportError("it is relative")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import {path!r}: {error}; expected package.module.Name") from error
