"""The one door through which a name in a file becomes a class: what may stand there, and what needs the user's word.

A run folder, a recipe or a manifest may come from a stranger, and building what it names runs code. So a file may name
classes of this package, optimisers of `torch.optim`, modules of `torch.nn`, and networks of torchvision, timm and
transformers; nothing else is imported. Anything more is the user's own word: named on the command line, passed in
Python, or trusted (`--trust`).
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from toughen import catalog
from toughen.errors import InputError
from toughen.settings.description import path_of
from toughen.settings.names import import_path
from toughen.settings.own_files import import_from_code, names_file
from toughen.settings.trust import LIBRARIES, is_known, is_trusted

FORMER = {"toughen.attacks.ascent.Ascent": "toughen.attacks.gradient.GradientAttack"}
"""Paths that configurations of earlier versions name, with what is there now."""
LOADING = (
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "trust_remote_code"),
    "use_pretrained_backbone",
)
"""Arguments by which a network of a library reads files or runs code of somebody's choice."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Arguments by which transformers, where they have the name of a repository, runs code from there."""

_FILE: ContextVar[str | None] = ContextVar("file", default=None)


@contextmanager
def described_in(file: str | None) -> Iterator[None]:
    """While the block builds an object: the file that describes it; None: the user's own word."""
    token = _FILE.set(file)
    try:
        yield
    finally:
        _FILE.reset(token)


def renamed_classes(described: Any) -> Any:
    """The same plain data, with what the classes of earlier versions are called now.

    >>> renamed_classes([{"class_path": "toughen.attacks.ascent.Ascent", "init_args": {}}])
    [{'class_path': 'toughen.attacks.gradient.GradientAttack', 'init_args': {}}]
    """
    if isinstance(described, list):
        return [renamed_classes(each) for each in described]
    if not isinstance(described, Mapping):
        return described
    path = described.get("class_path")
    now = {"class_path": FORMER[path]} if isinstance(path, str) and path in FORMER else {}
    return {**{name: renamed_classes(each) for name, each in described.items()}, **now}


def describing_file() -> str | None:
    """The file that describes the object being built, for one that imports by name later on."""
    return _FILE.get()


def import_from_file(
    path: str, place: str, arguments: Mapping[str, Any], base: type | None = object, file: str | None = None
) -> Callable[..., Any]:
    """The class, or registered builder of a network, that a file names by a dotted import path.

    Args:
        path: what the file says.
        place: the file, and where in it, for messages.
        arguments: what it would be called with.
        base: what a class there must descend from; None: one of the kinds in `catalog.KINDS`, and no function.
        file: the file, beside which `code/net.py` of a trusted `code/net.py:Net` lies.

    Raises:
        InputError: neither what a file may name nor trusted; nothing was run then. Or it does not exist.
    """
    path = FORMER.get(path, path)
    if is_trusted(path):
        return import_from_code(path, Path(file).parent) if file and names_file(path) else import_path(path)
    found = import_path(path) if is_known(path) or "<" in path else None  # a lambda's path is said, not imported
    if found is None or not _may_be_named(found) or not _is_kind(found, base):
        raise _refusal(path, place, arguments)
    check_reads_nothing(found, place, arguments)
    return found


def check_reads_nothing(called: Callable[..., Any], place: str, arguments: Mapping[str, Any]) -> None:
    """Raise where arguments that a file gives to a class or function of a library would make it read another file.

    Raises:
        InputError: there is one, such as a `checkpoint_path`, and the class is not trusted.
    """
    path = path_of(called)
    if path.startswith("toughen."):  # only what our classes for libraries' networks pass on
        passed_on = path.startswith("toughen.models.")
        arguments = {name: each for name, each in arguments.items() if passed_on and isinstance(each, Mapping)}
    loaded = None if is_trusted(path) else _loads(arguments)
    if loaded is not None:
        raise InputError(
            f"{place}: {path} with {loaded} would read a file that may run code, as a pickle does; nothing was run. "
            f"{_advice(path)}"
        )


def _may_be_named(found: Any) -> bool:
    """Whether what was found is a class of its library and of the kind that a file may name, or builds a network.

    Whether it is what the setting takes is asked where it is set.
    """
    from torch import nn, optim

    home = getattr(found, "__module__", "") or ""
    if not isinstance(found, type):
        return _builds_networks(found, home)
    if home.startswith("toughen."):
        return True
    if home.startswith("torch.optim."):
        return issubclass(found, optim.Optimizer)
    if home.startswith("transformers."):
        configuration: Any = getattr(importlib.import_module("transformers"), "PretrainedConfig", nn.Module)
        return issubclass(found, (nn.Module, configuration))
    return issubclass(found, nn.Module) and any(home.startswith(f"{place}.") for place in LIBRARIES)


def _is_kind(found: Any, base: type | None) -> bool:
    if not isinstance(found, type):
        return base is not None
    return catalog.kind_of(found) is not None if base is None else issubclass(found, base)


def _builds_networks(found: Any, home: str) -> bool:
    """Whether torchvision or timm list this function as the builder of a network."""
    name = getattr(found, "__name__", "")
    if home.startswith("torchvision.models."):
        from torchvision import models

        return name in models.list_models() and models.get_model_builder(name) is found
    if home.startswith("timm.models."):
        of_timm: Any = importlib.import_module("timm.models")
        return bool(of_timm.is_model(name)) and of_timm.model_entrypoint(name) is found
    return False


def _loads(value: Any, name: str = "") -> str | None:
    """The first of these arguments, as text, that leads a library's network to somebody's file; None without one."""
    if value not in (None, False) and (name in LOADING or (name in KERNELS and "/" in str(value))):
        return f"{name}={_short(value)}"
    if isinstance(value, str) and re.match(r"(?i)[a-z][a-z0-9+_-]+:", value) and not re.match(r"(cuda|mps):\d", value):
        return f"{name}={_short(value)}"
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((text for key, item in items if (text := _loads(item, str(key))) is not None), None)


def _refusal(path: str, place: str, arguments: Mapping[str, Any] | None) -> InputError:
    said = ", ".join(f"{name}={_short(value)}" for name, value in (arguments or {}).items())
    shown = path if re.fullmatch(r"[\w.]+", path) else repr(path)
    return InputError(
        f"{place}: this would run {shown}({said:.300}), which is no class of toughen, torch.optim or torch.nn and no "
        f"network of torchvision, timm or transformers; nothing was run. {_advice(path)}"
    )


def _advice(path: str) -> str:
    top = path.partition(".")[0]
    if top in sys.stdlib_module_names or not (re.fullmatch(r"\w+(\.\w+)+", path) or names_file(path)):
        return "No run of toughen names such a thing: the file is damaged, or made to harm you"
    return (
        f"A file from a stranger can do anything that you can; if you know where it comes from, add --trust {path} "
        f"(in Python trust=[{path!r}])"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:99]}…"
