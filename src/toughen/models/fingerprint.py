"""A hash of all that an object's behaviour can be seen to depend on: values, closures, globals and source files."""

import functools
import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from toughen.models.outputs import give_logits
from toughen.settings.description import path_of

_LIBRARIES = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib"))
# The train/eval flag is no part of a model that is judged in eval mode; the others say how it was built.
_BOOKKEEPING = {"training", "_is_full_backward_hook", "_non_persistent_buffers_set", "call_super_init"}
# What changes as it is used, like all of torch's own objects: only the type counts.
_OPAQUE = (types.FrameType, types.TracebackType, types.GeneratorType, torch.Generator, np.random.Generator)
_USED = ("torch", "logging", "threading", "weakref", "_thread", "random")
_MOST = 100_000
"""Objects that are looked at; what lies beyond is left to the comparison of outputs (see `Probe`)."""


def fingerprint(value: Any, known: frozenset[int] = frozenset()) -> str:
    """SHA-256 over everything that is reached from a value.

    Numbers, texts, tensors and NumPy arrays by their bytes; containers, dataclasses, plain objects, modules and
    partials by what they hold; functions by their code, defaults, closures and the globals that they name; classes by
    their source file and the same of their methods. Functions and classes of installed libraries count by name.

    Args:
        value: anything.
        known: ids of tensors that are hashed elsewhere.

    >>> fingerprint([1, {"scale": np.float32(1)}]) == fingerprint([1, {"scale": np.float32(0.2)}])
    False
    """
    walk = _Walk(known)
    walk.take(value)
    return walk.digest.hexdigest()


def _source_file(thing: Any) -> str:
    """The file that a class or function is written in; empty where there is none, as in a notebook."""
    try:
        file = inspect.getsourcefile(thing)
    except (TypeError, OSError):
        return ""
    return file or ""


class _Walk:
    """One pass over an object's graph; each object is looked at once."""

    def __init__(self, known: frozenset[int]) -> None:
        self.digest = hashlib.sha256()
        self.known = known
        # The object itself is kept, so that no other one gets its id meanwhile.
        self.seen: dict[int, tuple[int, Any]] = {}
        self.sources: dict[str, str] = {"": ""}

    def say(self, *words: object) -> None:
        self.digest.update((" ".join(str(word) for word in words) + "\n").encode(errors="replace"))

    def source(self, thing: Any) -> str:
        file = _source_file(thing)
        if file not in self.sources:
            try:
                self.sources[file] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
            except OSError:
                self.sources[file] = ""
        return self.sources[file]

    def take(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.Size):
            self.say(type(value).__name__, repr(value))
            return
        if id(value) in self.seen:
            self.say("seen", self.seen[id(value)][0])
            return
        if len(self.seen) >= _MOST:
            return
        self.seen[id(value)] = len(self.seen), value
        try:
            self._new(value)
        except Exception:  # of an object's own attributes, or too deep: what it holds is left to `Probe`, too
            self.say("unreadable", path_of(type(value)))

    def _new(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, Tensor):
            if id(value) not in self.known:
                self.say("tensor", value.dtype, tuple(value.shape))
                self.digest.update(tensor_bytes(value))
        elif isinstance(value, np.ndarray | np.generic):
            self.say("array", value.dtype, value.shape)
            self.digest.update(value.tobytes() if value.dtype != object else repr(value.tolist()).encode())
        elif isinstance(value, Mapping):
            self.say("mapping", path_of(kind), len(value))
            for key, item in list(value.items()):
                self.take(key)
                self.take(item)
        elif isinstance(value, set | frozenset):
            self.say("set", *sorted(fingerprint(item, self.known) for item in value))
        elif isinstance(value, list | tuple):
            self.say("sequence", path_of(kind), len(value))
            for item in value:
                self.take(item)
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, functools.partial):
            self.say("partial")
            self.take((value.func, value.args, value.keywords))
        elif isinstance(value, types.MethodType):
            self.say("method")
            self.take(value.__func__)
            self.take(value.__self__)
        elif isinstance(value, types.FunctionType):
            self._function(value, with_code=True)
        elif isinstance(value, types.BuiltinFunctionType | types.BuiltinMethodType):
            self.say("builtin", value.__module__, value.__qualname__)
        elif isinstance(value, types.ModuleType):
            self.say("module", value.__name__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.CellType):
            self.say("cell")
            self.take(_content(value))
        elif isinstance(value, _OPAQUE) or kind.__module__.split(".")[0] in _USED:
            self.say("opaque", path_of(kind))
        else:
            self._object(value)

    def _module(self, module: nn.Module) -> None:
        self.say("module")
        self.take(type(module))
        left_out = _BOOKKEEPING | _computed(module)
        held = {name: item for name, item in sorted(vars(module).items()) if name not in left_out}
        for name, item in held.items():
            if isinstance(item, dict) and name.startswith("_") and "hooks" in name:
                self.say(name)
                # Their keys count the hooks of the whole process. Logits are found by itself for the plain network too.
                self.take([hook for hook in item.values() if hook is not give_logits])
            else:
                self.take((name, item))

    def _object(self, value: Any) -> None:
        self.say("object", getattr(value, "__name__", ""))
        self.take(type(value))
        held = dict(getattr(value, "__dict__", {}))
        for base in type(value).__mro__:
            slots = base.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    held[name] = getattr(value, name)
        if isinstance(held, dict) and held:
            self.take(dict(sorted(held.items())))
        elif not _in_library(type(value).__module__):
            self.say("empty")
        elif hasattr(value, "__iter__") and hasattr(value, "__len__"):  # a deque and the like
            self.take(list(value))

    def _class(self, kind: type) -> None:
        self.say("class", path_of(kind))
        if kind.__module__.split(".")[0] == "torch":
            return
        source = self.source(kind)
        self.say("source", source)
        if _in_library(kind.__module__):
            return
        for base in kind.__bases__:
            self.take(base)
        for name, item in sorted(vars(kind).items()):
            inner = item.__func__ if isinstance(item, staticmethod | classmethod) else item
            inner = inner.fget if isinstance(inner, property) else inner
            if isinstance(inner, types.FunctionType):
                # With a source file the code is known; what it refers to may still change.
                self.say(name)
                self._function(inner, with_code=not source)
            elif not name.startswith("__") and not isinstance(inner, types.MemberDescriptorType):
                self.say(name)
                self.take(inner)

    def _function(self, function: Callable[..., Any], with_code: bool) -> None:
        self.say("function", path_of(function))
        if _in_library(function.__module__ or ""):
            self.take(getattr(function, "__wrapped__", None))
            return
        if not isinstance(function, types.FunctionType):
            return
        self.say("source", self.source(function))
        if with_code:
            self._code(function.__code__)
        self.take((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            self.take(_content(cell))
        self._names(function.__code__, function.__globals__)

    def _code(self, code: types.CodeType) -> None:
        self.say("code", code.co_names)
        self.digest.update(code.co_code)
        for constant in code.co_consts:
            self.take(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)

    def _names(self, code: types.CodeType, scope: Mapping[str, Any]) -> None:
        """The globals that a function names, in itself and in the functions inside it."""
        for name in code.co_names:
            if name not in scope:
                continue
            value = scope[name]
            self.say("global", name)
            if isinstance(value, types.ModuleType):
                if not _in_library(value.__name__):
                    for attribute in code.co_names:
                        if attribute in vars(value):
                            self.say(attribute)
                            self.take(vars(value)[attribute])
            else:
                self.take(value)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._names(constant, scope)


def _computed(module: nn.Module) -> set[str]:
    """Attributes that old-style weight norm, spectral norm and pruning compute anew from parameters at every pass.

    What such an attribute holds before one is left from when the module was built, and another in every process.
    """
    found = set()
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            found.add(hook.name)
        elif isinstance(hook, BasePruningMethod):
            found.add(hook._tensor_name)
    return found


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


@functools.cache
def _in_library(name: str) -> bool:
    """Whether a module is built in, installed, or this project's own, whose version is part of the key."""
    root = name.split(".")[0]
    if root in sys.stdlib_module_names or root in ("builtins", "toughen"):
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and str(Path(file).resolve()).startswith(_LIBRARIES)


def tensor_bytes(tensor: Tensor) -> bytes:
    """The tensor's bytes; where it has none that can be seen, as on the meta device, its description."""
    try:
        if tensor.is_quantized:
            return repr(tensor.dequantize().tolist()).encode()
        return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError):
        return repr(tensor).encode()
