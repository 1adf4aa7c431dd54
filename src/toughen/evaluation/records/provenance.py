"""What a figure was made from: hashes of model and images, versions of what computed it."""

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from toughen._version import __version__
from toughen.config import path_of
from toughen.data.source import ImageSet, Split
from toughen.evaluation.records.fingerprint import fingerprint, tensor_bytes
from toughen.models.state import split_state


def model_facts(model: nn.Module) -> dict[str, Any]:
    """Class, number of parameters, and two SHA-256.

    `sha256` is over names, types, shapes and bytes of the state dict, and what else it holds. `code_sha256` is over
    what else the outputs depend on, as far as it can be seen from outside; see `fingerprint`.
    """
    digest = hashlib.sha256()
    tensors, rest = split_state(model)
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    for name, value in rest.items():
        digest.update(f"{name} {fingerprint(value)}\n".encode())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "class": path_of(type(model)),
        "parameters": parameters,
        "sha256": digest.hexdigest(),
        "code_sha256": _code_hash(model),
    }


def _code_hash(model: nn.Module) -> str:
    saved = set(model.state_dict())
    buffers = {id(tensor) for name, tensor in model.named_buffers() if name in saved}
    return fingerprint(model, frozenset(buffers | {id(parameter) for parameter in model.parameters()}))


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
        pixels.update(tensor_bytes(images.images.take(indices)))
        labels.update(tensor_bytes(images.labels[indices]))
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
