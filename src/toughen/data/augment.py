"""Random changes of training images, drawn per image on the device that holds them."""

import torch
from torch import Tensor

from toughen.numbers import check_number
from toughen.placement import Placement


class Augment:
    """Random crop with padding, then a random mirror image: the usual augmentation of small colour images.

    The crop is torchvision's `RandomCrop(size, padding)` with one independent offset an image: each of the
    (2 * crop + 1)^2 windows of the zero-padded image is equally likely. The mirror image has probability 1/2.

    Args:
        crop: pixels of padding before the crop; 0 switches it off.
        flip: whether to mirror half of the images (not for digits or letters).

    Raises:
        InputError: `crop` negative or not a whole number.

    >>> image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    >>> Augment(crop=1, flip=False)(image, torch.Generator().manual_seed(3))
    tensor([[[[2, 0],
              [4, 0]]]], dtype=torch.uint8)
    """

    def __init__(self, crop: int = 4, flip: bool = True) -> None:
        check_number("augment.crop", crop, least=0, whole=True)
        self.crop = crop
        self.flip = flip

    def draw(self, count: int, generator: torch.Generator) -> Placement:
        """Draw the shift and the mirroring of `count` images, on the generator's device."""
        device = generator.device
        offsets = torch.zeros(2, count, dtype=torch.int64, device=device)
        flipped = torch.zeros(count, dtype=torch.bool, device=device)
        if self.crop:
            offsets = torch.randint(-self.crop, self.crop + 1, (2, count), generator=generator, device=device)
        if self.flip:
            flipped = torch.rand(count, generator=generator, device=device) < 0.5
        return Placement(offsets[0], offsets[1], flipped, reach=self.crop)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images, N x C x H x W, same dtype and device."""
        return self.draw(len(images), generator).apply(images)
