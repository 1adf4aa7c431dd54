"""Random changes of training images, drawn per image on the device that holds them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from toughen.errors import InputError


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift every image by up to `padding` pixels each way, filling with black.

    The same as torchvision's `RandomCrop(size, padding)`, with one independent offset an image: each of the
    (2 * padding + 1)^2 windows of the zero-padded image is equally likely.

    Args:
        images: N x C x H x W, any dtype.
        padding: pixels added on every side, at least 0.
        generator: on the images' device.

    Returns:
        Images of the same shape and dtype.

    >>> image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    >>> random_crop(image, 1, torch.Generator().manual_seed(3))
    tensor([[[[2, 0],
              [4, 0]]]], dtype=torch.uint8)
    """
    if padding == 0:
        return images
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=generator, device=images.device)
    padded = F.pad(images, (padding, padding, padding, padding))
    # A view of all windows, N x C x (2p+1) x (2p+1) x H x W; only the chosen ones are copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, offsets[0], offsets[1]]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image left to right with probability 1/2, independently.

    Args:
        images: N x C x H x W, any dtype.
        generator: on the images' device.
    """
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


class Augment:
    """Random crop with padding, then a random mirror image: the usual augmentation of small colour images.

    Args:
        crop: pixels of padding before the crop; 0 switches it off.
        flip: whether to mirror half of the images (not for digits or letters).

    Raises:
        InputError: `crop` negative or not a whole number.
    """

    def __init__(self, crop: int = 4, flip: bool = True) -> None:
        if not isinstance(crop, int) or crop < 0:
            raise InputError(f"augment.crop: expected a whole number of pixels, 0 or more, got {crop!r}")
        self.crop = crop
        self.flip = flip

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images, N x C x H x W, same dtype and device."""
        images = random_crop(images, self.crop, generator)
        return random_flip(images, generator) if self.flip else images
