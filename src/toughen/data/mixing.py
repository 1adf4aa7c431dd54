"""Labels made soft and images mixed, on a batch, before the attack sees it."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from toughen.batch import Batch
from toughen.numbers import check_number


def probabilities(target: Tensor, classes: int) -> Tensor:
    """Targets as probabilities of the classes (N, K): labels (N,) become one-hot float32, probabilities stay.

    >>> probabilities(torch.tensor([1, 0]), classes=2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    return target if target.is_floating_point() else F.one_hot(target, classes).float()


def smooth(batch: Batch, classes: int, smoothing: float) -> Batch:
    """The batch with target `(1 - s) t + s / K`; images and labels stay.

    >>> smooth(Batch(torch.rand(1, 1, 2, 2), torch.tensor([1])), classes=4, smoothing=0.2).target
    tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    """
    return replace(batch, soft=(1 - smoothing) * probabilities(batch.target, classes) + smoothing / classes)


class CutMix:
    """CutMix (Yun 2019): a box of every image is replaced by that of another image, and its target in proportion.

    With the given probability a whole batch is mixed: with `u ~ Beta(alpha, alpha)`, a box of `sqrt(1 - u)` of each
    side, round a uniformly drawn pixel and cut at the border, is taken from the images in a random order. With k the
    share of the image that is left, the target becomes `k t_i + (1 - k) t_j`. The label, which attacks and per-label
    weights use, becomes that of the larger part; the index stays that of the image which lost the box.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features,
    ICCV 2019. Published for CIFAR: alpha 1, probability 0.5, which are the defaults.

    Args:
        alpha: shape of the Beta distribution, above 0; 1 makes all box sizes equally likely.
        probability: share of batches that are mixed, above 0 and at most 1.

    Raises:
        InputError: a setting out of range.
    """

    def __init__(self, alpha: float = 1.0, probability: float = 0.5) -> None:
        check_number("cutmix.alpha", alpha, above=0, such="1")
        check_number("cutmix.probability", probability, above=0, most=1)
        self.alpha = alpha
        self.probability = probability

    def __call__(self, batch: Batch, classes: int, generator: torch.Generator) -> Batch:
        """The batch, mixed or as it was.

        Args:
            batch: images N x C x H x W.
            classes: number of classes.
            generator: source of the draws, on the CPU, so that a GPU need not be waited for.
        """
        if _uniform(generator) >= self.probability:
            return batch
        height, width = batch.images.shape[2:]
        rows, columns = self.box(height, width, generator)
        partner = torch.randperm(len(batch), generator=generator).to(batch.images.device)
        images = batch.images.clone()
        images[:, :, rows, columns] = batch.images[partner, :, rows, columns]
        left = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        target = probabilities(batch.target, classes)
        return replace(
            batch,
            images=images,
            labels=batch.labels if left >= 0.5 else batch.labels[partner],
            soft=left * target + (1 - left) * target[partner],
        )

    def box(self, height: int, width: int, generator: torch.Generator) -> tuple[slice, slice]:
        """Rows and columns of a random box."""
        side = math.sqrt(1 - draw_share(self.alpha, generator))
        return _span(height, side, generator), _span(width, side, generator)


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """One number from Beta(alpha, alpha)."""
    from scipy.special import betaincinv  # here: it takes a third of a second to import

    # torch's own Beta distribution draws from the global generator; a quantile of a uniform number does not.
    return float(betaincinv(alpha, alpha, _uniform(generator)))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _span(length: int, side: float, generator: torch.Generator) -> slice:
    centre, half = int(torch.randint(length, (), generator=generator)), int(length * side) // 2
    return slice(max(centre - half, 0), min(centre + half, length))


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights of the classes with which all count the same in a loss: `n / (K n_c)`, float32 (classes,).

    Of n images n_c are of class c, and K classes have images; over these images the mean is 1.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), classes=3)
    tensor([0.6667, 2.0000, 0.0000])
    """
    counts = labels.bincount(minlength=classes)
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp_min(1)), 0).float()


def soften(
    batch: Batch,
    classes: int,
    smoothing: float,
    cutmix: CutMix | None,
    generator: torch.Generator,
    class_weights: Tensor | None = None,
) -> Batch:
    """The batch as a method is to see it: mixed by `cutmix`, its images weighted, then its target smoothed.

    With `class_weights` (classes,) an image weighs what its class does, a mixed one in proportion.
    """
    if cutmix is not None:
        batch = cutmix(batch, classes, generator)
    if class_weights is not None:
        weights = class_weights[batch.labels] if batch.soft is None else batch.soft @ class_weights
        batch = replace(batch, weights=weights)
    return smooth(batch, classes, smoothing) if smoothing else batch
