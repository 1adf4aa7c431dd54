"""How large a network will be, before it is built."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from toughen.errors import InputError
from toughen.hardware.memory import available_memory
from toughen.random_state import own_random_state
from toughen.settings.description import path_of
from toughen.settings.trust import is_known


def check_size(network: Callable[..., Any], settings: Mapping[str, Any], weights: Path | None = None) -> None:
    """Raise where the weights of a network would not fit into the memory that is free, or are not those of its file.

    A file may ask for any width. Of this package's networks and its libraries' the shapes are made first, on torch's
    meta device, which holds no values; a network of one's own is built once only. One that does not let itself be built
    there is left to memory itself. Weights that are to be downloaded are not: their shapes are those of the network.

    Args:
        network: the class or function; anything but networks is left.
        settings: what it is called with.
        weights: the file that it will be given the weights of.

    Raises:
        InputError: with both sizes.
    """
    import torch
    from torch import nn

    if not is_known(path_of(network)) or not _gives_network(network):
        return
    empty = {**settings, **{name: nothing for name, nothing in _DOWNLOADS.items() if name in settings}}
    try:
        with torch.device("meta"), _unfilled(), own_random_state():
            built = network(**empty)
    except Exception:  # what is wrong with the settings is said where it is built
        return
    if not isinstance(built, nn.Module):
        return
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*built.parameters(), *built.buffers()))
    free, said = available_memory(), f"{path_of(network)} with {dict(settings)} has weights of {size / 1e6:,.1f} MB"
    if size > free:
        raise InputError(f"{said}, and {free / 1e6:,.1f} MB of memory are free; take a smaller one")
    held = weights.stat().st_size if weights is not None and weights.is_file() else size
    if size > _NARROW * held + _LITTLE:
        raise InputError(f"{said}, and {weights} {held / 1e6:,.1f} MB: they do not belong together")


def _unfilled() -> AbstractContextManager[Any]:
    """Inside, no tensor is given values: where there are none torch imports a second's worth of modules for it."""
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            name, kwargs = getattr(func, "__name__", ""), kwargs or {}
            if name.endswith("_") and not name.startswith("_"):
                return args[0] if args else next(iter(kwargs.values()))
            return func(*args, **kwargs)

    return Unfilled()


def _gives_network(called: Callable[..., Any]) -> bool:
    from torch import nn

    return issubclass(called, nn.Module) if isinstance(called, type) else path_of(called).startswith(_BUILDERS)


_DOWNLOADS = {"weights": None, "weights_backbone": None, "pretrained": False}
"""Arguments by which a library's network is given weights from elsewhere, and what gives it none."""
_NARROW = 8
"""A file may hold its numbers in a byte where the network has eight."""
_LITTLE = 2**26
"""Bytes that are not worth a refusal: a file that was cut short has a message of its own."""
_BUILDERS = ("torchvision.models.", "timm.models.", "toughen.models.")
