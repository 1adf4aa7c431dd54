"""What one training or evaluation step works on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from toughen.contracts import check_classes, check_images, check_labels
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
        weights: what each image counts in the loss, (N,). None where all count the same.
        part: its number, from 0, among batches that make one update and are taken several times.
        views: further augmented versions of the images, each like `images`, for methods that ask for some.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor | None = None
    soft: Tensor | None = None
    placement: Placement | None = None
    weights: Tensor | None = None
    part: int = 0
    views: tuple[Tensor, ...] = ()

    @property
    def target(self) -> Tensor:
        """What a supervised loss is taken against: the soft labels where there are any, else the labels."""
        return self.labels if self.soft is None else self.soft

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        return f"Batch({len(self)} images of {channels} x {height} x {width})"

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        indices = None if self.indices is None else self.indices.to(device)
        soft = None if self.soft is None else self.soft.to(device)
        placement = None if self.placement is None else self.placement.to(device)
        weights = None if self.weights is None else self.weights.to(device)
        views = tuple(view.to(device) for view in self.views)
        images, labels = self.images.to(device), self.labels.to(device)
        return Batch(images, labels, indices, soft, placement, weights, self.part, views)

    def check(self, num_classes: int) -> None:
        """Raise unless images and labels fit the contract. Reads values, so it synchronises a GPU: call it once.

        Raises:
            InputError: images not floating point, not 4-D, or outside [0, 1]; labels not integers, of another
                length, or outside 0 .. num_classes - 1; soft labels of another shape.
        """
        check_images(self.images)
        check_labels(self.labels, self.images)
        check_classes(self.labels, num_classes)
        if self.soft is not None and self.soft.shape != (len(self), num_classes):
            raise InputError(
                f"soft labels: expected a probability of every class, shape ({len(self)}, {num_classes}), got "
                f"{tuple(self.soft.shape)}"
            )
