"""Enough of an image set to see, within a second, that it is another one."""

import hashlib
from typing import Any

import torch

from toughen.data.source import Decoded, ImageSet

_BYTES = 1 << 28
"""Decoded images are looked at whole up to so many bytes."""
_IMAGES = 64
"""Of others so many are, evenly spread."""


def data_summary(images: ImageSet) -> dict[str, Any]:
    """Number, shape and classes of a set's images, and hashes of its labels and of its images or some of them."""
    store, n = images.images, len(images)
    whole = isinstance(store, Decoded) and store.tensor.nbytes <= _BYTES
    chosen = torch.arange(n) if whole else torch.linspace(0, n - 1, min(n, _IMAGES)).long()
    return {
        "images": n,
        "shape": list(images.shape),
        "classes": list(images.classes),
        "labels": _hash(images.labels),
        f"pixels of {'all' if whole else len(chosen)} images": _hash(store.take(chosen)),
    }


def _hash(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]
