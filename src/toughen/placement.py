"""Where the pixels of an augmented image came from."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Placement:
    """How each image of a batch was cropped and mirrored, so that what belongs to its pixels can follow and come back.

    Pixel (i, j) of a placed image is pixel (i + dy, j + dx) of the original, black where the original has none; in a
    flipped image the columns j run from right to left.

    Attributes:
        dy: rows that the crop moved down, int64, (N,), in -reach .. reach.
        dx: columns that it moved to the right, likewise.
        flipped: whether the crop was then mirrored left to right, bool, (N,).
        reach: no offset is larger. Kept beside the offsets because reading them would synchronise a GPU.

    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> placement = Placement(torch.tensor([0]), torch.tensor([1]), torch.tensor([True]), reach=1)
    >>> placement.apply(image)
    tensor([[[[0., 2.],
              [0., 4.]]]])
    >>> placement.undo(torch.full_like(image, 9.0), like=image)
    tensor([[[[1., 9.],
              [3., 9.]]]])
    """

    dy: Tensor
    dx: Tensor
    flipped: Tensor
    reach: int

    def __len__(self) -> int:
        return len(self.flipped)

    def to(self, device: torch.device | str) -> "Placement":
        """The same placement on another device."""
        return Placement(self.dy.to(device), self.dx.to(device), self.flipped.to(device), self.reach)

    def apply(self, images: Tensor) -> Tensor:
        """The images as they are placed: N x C x H x W in, the same shape, dtype and device out."""
        return self._mirror(_moved(images, self.dy, self.dx, self.reach))

    def undo(self, placed: Tensor, like: Tensor) -> Tensor:
        """`placed` in the coordinates of the originals; `like`, of the same shape, where the original was hidden.

        `undo(apply(images), like=images)` is `images`.
        """
        height, width = placed.shape[2:]
        back = _moved(self._mirror(placed), -self.dy, -self.dx, self.reach)
        rows = _inside(self.dy, height).view(-1, 1, height, 1)
        columns = _inside(self.dx, width).view(-1, 1, 1, width)
        return torch.where(rows & columns, back, like)

    def _mirror(self, images: Tensor) -> Tensor:
        return torch.where(self.flipped.view(-1, 1, 1, 1), images.flip(3), images)


def _moved(images: Tensor, dy: Tensor, dx: Tensor, reach: int) -> Tensor:
    """Pixel (i, j) is pixel (i + dy, j + dx) of `images`, or 0."""
    if reach == 0:
        return images
    height, width = images.shape[2:]
    padded = F.pad(images, (reach, reach, reach, reach))
    # A view of all windows, N x C x (2 reach + 1) x (2 reach + 1) x H x W; only the chosen ones are copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, dy + reach, dx + reach]


def _inside(offset: Tensor, size: int) -> Tensor:
    """Which of the `size` original lines a crop at each offset shows, N x size."""
    line = torch.arange(size, device=offset.device) - offset[:, None]
    return (line >= 0) & (line < size)
