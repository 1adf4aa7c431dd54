"""What a figure was made from: hashes of model and images, versions of what computed it."""

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from toughen._version import __version__
from toughen.data.source import ImageSet, Split
from toughen.models.fingerprint import tensor_bytes


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
