"""What a figure was made from: hashes of model and images, versions of what computed it."""

import hashlib
import inspect
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toughen._version import __version__
from toughen.config import path_of
from toughen.data.source import ImageSet, Split


def model_facts(model: nn.Module) -> dict[str, Any]:
    """Class, number of parameters, and two SHA-256.

    `sha256` is over names, types, shapes and bytes of the state dict. `code_sha256` is over what else the outputs
    depend on, as far as it can be seen from outside: each module's class, its attributes that are plain data or
    tensors, its buffers outside the state dict, and the source files of classes that are not torch's own.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "class": path_of(type(model)),
        "parameters": parameters,
        "sha256": digest.hexdigest(),
        "code_sha256": _code_hash(model),
    }


def _code_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    sources = dict[str, str]()
    saved = set(model.state_dict())
    for name, module in model.named_modules():
        kind = type(module)
        digest.update(f"{name} {path_of(kind)}\n".encode())
        for attribute, value in sorted(vars(module).items()):
            if attribute in _MODULE_ATTRIBUTES:
                continue
            if isinstance(value, Tensor):
                digest.update(attribute.encode() + _bytes(value))
            elif _plain(value):
                digest.update(f"{attribute}={value!r}\n".encode())
            elif callable(value) and hasattr(value, "__qualname__"):
                digest.update(f"{attribute}={path_of(value)}\n".encode())
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            digest.update(f"hook {getattr(hook, '__qualname__', '')}\n".encode())
        for buffer, tensor in module.named_buffers(recurse=False):
            if f"{name}.{buffer}".lstrip(".") not in saved:
                digest.update(buffer.encode() + _bytes(tensor))
        if not kind.__module__.startswith("torch.") and kind.__module__ not in sources:
            sources[kind.__module__] = _source(kind)
    for name in sorted(sources):
        digest.update(f"{name} {sources[name]}\n".encode())
    return digest.hexdigest()


# What every module carries; its train/eval flag is no part of a model that is judged in eval mode.
_MODULE_ATTRIBUTES = {"training", *vars(nn.Module())}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_plain(item) for pair in value.items() for item in pair)
    return value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.Size)


def _source(kind: type) -> str:
    """SHA-256 of the file that a class is written in; empty where there is none, as in a notebook."""
    try:
        file = inspect.getsourcefile(kind)
        return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return ""


def data_facts(images: ImageSet, split: Split, chosen: Sequence[Tensor]) -> dict[str, Any]:
    """Name, split and classes, and a SHA-256 of what was chosen."""
    return {
        "name": images.name,
        "split": split,
        "n_total": len(images),
        "classes": list(images.classes),
        "sha256": data_hash(images, chosen),
    }


def data_hash(images: ImageSet, chosen: Sequence[Tensor]) -> str:
    """SHA-256 over shape, pixels and labels of the chosen images in their order, however cut into chunks."""
    pixels, labels = hashlib.sha256(str(images.shape).encode()), hashlib.sha256()
    for indices in chosen:
        pixels.update(_bytes(images.images.take(indices)))
        labels.update(_bytes(images.labels[indices]))
    return hashlib.sha256(pixels.digest() + labels.digest()).hexdigest()


def versions(device: torch.device) -> dict[str, str]:
    """Versions of what a result depends on, the platform and the device."""
    libraries = {name: version(name) for name in ("torchvision", "numpy", "pyautoattack")}
    return {
        "toughen": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **libraries,
        "platform": platform.platform(),
        "device": device_name(device),
    }


def device_name(device: torch.device) -> str:
    """The processor that computes, such as "cuda: NVIDIA A100" or "cpu: x86_64"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{device.type}: {name}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
