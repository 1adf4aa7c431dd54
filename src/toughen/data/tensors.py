"""Images and labels that are at hand: tensors, arrays, a DataLoader, or anything that gives them in parts."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from toughen.data.source import MOST_CLASSES, Decoded, ImageSet, in_unit_range
from toughen.errors import InputError


def image_set(images: Any, labels: Any = None, *, num_classes: int | None = None, name: str = "tensors") -> ImageSet:
    """An `ImageSet` of images that are at hand.

    Args:
        images: a tensor or array, N x C x H x W, float in [0, 1] or uint8 in 0 .. 255; or, without `labels`, a
            DataLoader, a data set, or anything else that gives pairs of images and labels, in batches or one by one.
        labels: whole numbers, (N,).
        num_classes: default the largest label and one.
        name: what figures made on it are called.

    Raises:
        InputError: images of another shape, type or range; labels that do not fit them.

    >>> image_set(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 1, 0])).classes
    ('0', '1')
    """
    if labels is None:
        if not isinstance(images, Iterable) and hasattr(images, "__getitem__") and hasattr(images, "__len__"):
            images = list(map(images.__getitem__, range(len(images))))  # a data set of torch's need not be iterable
        if isinstance(images, Tensor) or not isinstance(images, Iterable):
            raise InputError(
                f"labels: expected (N,), got none; give evaluate(model, images, labels), or pairs of images and labels "
                f"such as a DataLoader in place of {type(images).__name__}"
            )
        parts = [_pair(item) for item in images]
        if not parts:
            raise InputError("images: expected pairs of images and labels, got none; the loader is empty")
        sizes = list(dict.fromkeys(" x ".join(map(str, part[0].shape[1:])) for part in parts))
        if len(sizes) > 1:
            raise InputError(f"images: expected one size, got {' and '.join(sizes[:2])}; resize them in the loader")
        same = len({part[0].dtype for part in parts}) == 1
        pictures = torch.cat([part[0] if same else in_unit_range(part[0]) for part in parts])
        truth = torch.cat([part[1] for part in parts])
    else:
        pictures, truth = _images(images), _labels(labels)
    if len(pictures) != len(truth):
        raise InputError(f"labels: expected one for each of {len(pictures):,} images, got {len(truth):,}")
    if not len(truth):
        raise InputError("images: expected at least one, got none")
    count = int(truth.max()) + 1 if num_classes is None else num_classes
    if count > MOST_CLASSES:
        raise InputError(f"labels: expected at most {MOST_CLASSES:,} classes, got a label of {int(truth.max())}")
    if not 0 <= int(truth.min()) <= int(truth.max()) < count:
        raise InputError(f"labels: expected values in 0 .. {count - 1}, got {int(truth.min())} .. {int(truth.max())}")
    return ImageSet(Decoded(_compact(pictures)), truth, tuple(map(str, range(count))), name)


def _pair(item: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of one part; an image alone becomes a batch of one."""
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise InputError(f"images: expected pairs (images, labels), got {type(item).__name__}")
    images, labels = _tensor("images", item[0]), _tensor("labels", item[1])
    alone = images.ndim == 3
    return _images(images[None] if alone else images), _labels(labels.reshape(1) if alone else labels)


def _tensor(name: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: expected a tensor or an array, got {type(given).__name__}: {error}") from error


def _images(given: Any) -> Tensor:
    images = _tensor("images", given)
    if images.ndim != 4:
        raise InputError(f"images: expected N x C x H x W, got shape {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise InputError(f"images: expected floats in [0, 1] or uint8 in 0 .. 255, got {images.dtype}")
    images = images.float()
    low, high = (float(end) for end in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:  # NaN is in no range
        why = "divide them by 255" if 1 < high <= 255 and low >= 0 else "normalise inside the model, not before it"
        raise InputError(f"images: expected values in [0, 1], got {low:.4g} .. {high:.4g}; {why}")
    return images


def _compact(images: Tensor) -> Tensor:
    """What came from 8 bits in 8 bits, everything else as it is."""
    if images.dtype == torch.uint8:
        return images
    whole = (images * 255).round()
    return whole.to(torch.uint8) if torch.equal(whole / 255, images) else images


def _labels(given: Any) -> Tensor:
    labels = _tensor("labels", given)
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise InputError(f"labels: expected whole numbers, (N,), got {labels.dtype} of shape {tuple(labels.shape)}")
    return labels.long()
