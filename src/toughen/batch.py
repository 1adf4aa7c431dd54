"""What one training or evaluation step works on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from toughen.errors import InputError
from toughen.placement import Placement


@dataclass(frozen=True)
class Batch:
    """Images with what is known of them.

    Attributes:
        images: float, N x C x H x W, in [0, 1].
        labels: int64, (N,).
        indices: int64, (N,), each image's place in its training set; methods that remember something of every
            image need them. None where nothing asks.
        soft: probabilities of the classes, (N, K), where training softens or mixes labels. None for plain labels.
        placement: where augmentation put each image, for what is remembered in the coordinates of the images as
            they are stored. None where they are as stored.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor | None = None
    soft: Tensor | None = None
    placement: Placement | None = None

    @property
    def target(self) -> Tensor:
        """What a supervised loss is taken against: the soft labels where there are any, else the labels."""
        return self.labels if self.soft is None else self.soft

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        indices = None if self.indices is None else self.indices.to(device)
        soft = None if self.soft is None else self.soft.to(device)
        placement = None if self.placement is None else self.placement.to(device)
        return Batch(self.images.to(device), self.labels.to(device), indices, soft, placement)

    def check(self, num_classes: int) -> None:
        """Raise unless images and labels fit the contract. Reads values, so it synchronises a GPU: call it once.

        Raises:
            InputError: images not floating point, not 4-D, or outside [0, 1]; labels not integers, of another
                length, or outside 0 .. num_classes - 1; soft labels of another shape.
        """
        check_images(self.images)
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"labels: expected int64 of shape ({len(self.images)},), got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}"
            )
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < num_classes:
            raise InputError(
                f"labels: expected values in 0 .. {num_classes - 1} for {num_classes} classes, got "
                f"{int(self.labels.min())} .. {int(self.labels.max())}"
            )
        if self.soft is not None and self.soft.shape != (len(self), num_classes):
            raise InputError(
                f"soft labels: expected a probability of every class, shape ({len(self)}, {num_classes}), got "
                f"{tuple(self.soft.shape)}"
            )


def check_images(images: Tensor) -> None:
    """Raise unless `images` is floating point, N x C x H x W and in [0, 1].

    Raises:
        InputError: naming what came and, for a range that looks like one, what to divide by.
    """
    if not images.is_floating_point():
        raise InputError(
            f"images: expected a floating-point tensor in [0, 1], got {images.dtype}; use images.float() / 255"
        )
    if images.ndim != 4:
        raise InputError(f"images: expected N x C x H x W, got shape {tuple(images.shape)}")
    if images.numel() == 0:
        return
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        hint = "divide by 255" if low >= 0 and high > 2 else "undo the normalisation: it is a layer of the model here"
        raise InputError(f"images: expected values in [0, 1], got [{low:.4g}, {high:.4g}]; {hint}")
