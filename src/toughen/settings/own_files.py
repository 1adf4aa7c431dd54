"""Code in one file that the user names, as `net.py:build`, and its copy in the folder of the run that used it.

A program of `torch.export` is such a file too: reading it can run code.
"""

import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from toughen.errors import InputError

CODE = "code"
"""The folder in a run's where copies lie; a class there is called `code/net.py:Net`, in configurations too."""


def names_file(path: str) -> bool:
    """Whether a name means something in a file, and not in an installed module."""
    return re.fullmatch(r"[^:]+\.(py|pt2):\w+", path) is not None


def import_from_code(path: str, folder: Path = Path()) -> Callable[..., Any]:
    """The class or function that a name such as `net.py:build` means; the file's code is run.

    Args:
        path: a file, a colon and a name in it.
        folder: what the file's path is relative to.

    Raises:
        InputError: no such file, code that cannot be run alone, or no such name in it.
    """
    file, _, name = path.rpartition(":")
    try:
        module = _module(folder / file, (folder / file).read_bytes())
        return getattr(module, name)
    except Exception as error:  # whatever the user's code raises
        advice = "expected file.py:NAME"
        if isinstance(error, ModuleNotFoundError):
            advice = (
                "a run keeps this one file, so it can import what is installed, and nothing beside it: put all of it "
                "in one file, or install it and name package.module.Name"
            )
        raise InputError(f"cannot import {path!r}: {error}; {advice}") from error


def sources(described: Any) -> dict[str, bytes]:
    """The files that a configuration names something in, by their paths in the run's folder."""
    return {file: _source(sys.modules[file]) for file in sorted(set(_files(described))) if file in sys.modules}


def _files(described: Any) -> Iterator[str]:
    if isinstance(described, list):
        for item in described:
            yield from _files(item)
    elif isinstance(described, dict):
        path = described.get("class_path")
        if isinstance(path, str) and names_file(path):
            yield path.rpartition(":")[0]
        for item in described.values():
            yield from _files(item)


def exported_program(source: bytes) -> Callable[..., Any]:
    """What builds the network of a program that `torch.export` saved, `code/network.pt2:network` in configurations."""
    built: Callable[..., Any] = _module(Path("network.pt2"), source).network
    return built


def _module(file: Path, source: bytes) -> ModuleType:
    """The module of a file: the same for the same code, so that a run's copy is what it is a copy of."""
    name = f"{CODE}/{file.name}"
    known = sys.modules.get(name)
    if known is not None and _source(known) != source:  # another file of this name, or this one before it was edited
        name = f"{CODE}/{file.stem}-{hashlib.sha256(source).hexdigest()[:8]}{file.suffix}"
        known = sys.modules.get(name)
    if known is not None:
        return known
    module = ModuleType(name)
    module.__file__ = str(file.absolute())
    vars(module)["__source__"] = source
    sys.modules[name] = module
    try:
        if file.suffix == ".pt2":
            vars(module)["network"] = _builder(name, source)
        else:
            exec(compile(source, module.__file__, "exec"), vars(module))
            _check_alone(module, file)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _builder(module: str, source: bytes) -> Callable[..., Any]:
    """Builds the network of an exported program."""

    def network() -> Any:
        import torch

        built: Any = torch.export.load(io.BytesIO(source)).module()
        # They refuse, as the program has one mode; what trains it is told by what it was exported from.
        vars(built).pop("train"), vars(built).pop("eval")
        return built

    network.__module__, network.__qualname__ = module, "network"
    return network


def _source(module: ModuleType) -> bytes:
    source: bytes = vars(module)["__source__"]
    return source


def _check_alone(module: ModuleType, file: Path) -> None:
    """Raise where the code uses another file of its folder, as it may when that is Python's path."""
    for value in vars(module).values():
        other = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
        place = getattr(other, "__file__", None)
        if place and other is not module and Path(place).parent == file.absolute().parent:
            raise ModuleNotFoundError(f"it uses {Path(place).name} beside it")
