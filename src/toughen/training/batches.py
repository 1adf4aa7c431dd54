"""The images of a run, as the loop goes through them."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import torch

from toughen.batch import Batch
from toughen.data import Loader


@dataclass(frozen=True)
class Batches:
    """The images of a run, on its device.

    Attributes:
        train: loader that an epoch goes through.
        probe: up to 1,000 of these images, which the method may look at before an epoch.
        validation: held-out images.
        soften: labels of a batch as the method is to see them.
    """

    train: Loader
    probe: Batch
    validation: list[Batch]
    soften: Callable[[Batch], Batch]

    def digest(self) -> str:
        """SHA-256 of the places of training and validation images in their set (int64, little endian).

        The seed does not fix them: they depend on the labels, and on how a version of toughen draws.
        """
        held_out = [batch.indices.cpu() for batch in self.validation if batch.indices is not None]
        parts = (self.train.indices, torch.cat(held_out))
        return sha256(b"|".join(part.numpy().astype("<i8").tobytes() for part in parts)).hexdigest()
