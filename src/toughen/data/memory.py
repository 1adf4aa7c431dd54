"""The place of a split's images during a run: decoded on the device if they fit, else as they are."""

import math
from dataclasses import replace

import torch

from toughen.data.encoded import Encoded
from toughen.data.source import Decoded, ImageSet
from toughen.hardware.memory import available_memory

DEVICE_SHARE = 0.3
"""Of the free memory of a GPU; the network, its activations and the attack need the rest."""
HOST_SHARE = 0.5
"""Of the available memory of the machine."""
CHUNK = 4096
"""Images decoded between two copies to the device."""


def budget(device: torch.device | str) -> int:
    """Bytes that decoded images may take on `device`: a share of what is free there now."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(HOST_SHARE * available_memory())


def hold(images: ImageSet, device: torch.device | str, limit: int | None = None) -> ImageSet:
    """The same set, its images decoded once to a uint8 tensor on `device` if that takes at most `limit`.

    Otherwise the set comes back as it was (encoded, or decoded on the CPU), for a `Loader` to stream.

    Args:
        images: a split.
        device: the one that trains or evaluates.
        limit: bytes; by default `budget(device)`.

    Raises:
        DataError: a damaged image, or one of another size where the source does not resize. When the images
            stay encoded only their headers are read here, and a truncated one is found when it is decoded.
    """
    device = torch.empty(0, device=device).device  # with its number: "cuda" may mean "cuda:1"
    store = images.images
    if isinstance(store, Decoded) and store.tensor.device == device:
        return images
    count = len(store)
    dtype = store.take(torch.arange(1)).dtype
    if count * math.prod(store.shape) * dtype.itemsize > (budget(device) if limit is None else limit):
        if isinstance(store, Encoded):
            store.check_sizes()
        return images
    tensor = torch.empty((count, *store.shape), dtype=dtype, device=device)
    for indices in torch.arange(count).split(CHUNK):
        tensor[int(indices[0]) : int(indices[-1]) + 1] = store.take(indices)
    return replace(images, images=Decoded(tensor))
