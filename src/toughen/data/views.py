"""Further views of training images, for methods that see each image in several."""

import torch
from torch import Tensor

from toughen.data.augment import Augment
from toughen.random_state import seeded


def auto_augmented(images: Tensor, augment: Augment | None, generator: torch.Generator) -> Tensor:
    """AutoAugment's policy for CIFAR-10 (Cubuk 2019), drawn for each image, then the run's own augmentation.

    Args:
        images: of one or three channels, N x C x H x W, uint8 or float in [0, 1].
        augment: the crops and mirror images of the run, drawn anew; None for none.
        generator: of all draws, on the images' device.
    """
    from torchvision.transforms import v2  # here: it takes long to import

    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    with seeded(seed):  # torchvision draws from torch's global generator
        changed = torch.stack([policy(image) for image in images]) if len(images) else images
    return changed if augment is None else augment(changed, generator)
