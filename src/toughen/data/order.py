"""Orders of images: seeded permutations, samples that are like their set, and the validation split."""

import numpy as np
import torch
from torch import Tensor

from toughen.errors import InputError


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 .. n - 1 that depends on nothing but the arguments; int64, on the CPU."""
    # SeedSequence mixes the two numbers, so that (seed, epoch + 1) and (seed + 1, epoch) are unrelated.
    mixed = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1)[0]
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(mixed)))


def endless_groups(n: int, size: int, seed: int, start: int, stop: int) -> Tensor:
    """Groups `start` to `stop - 1` of an endless sequence of groups of `size` of 0 .. n - 1; int64, on the CPU.

    A permutation of all n is cut into groups, then another one; what is left at the end of each, fewer than `size`, is
    not used, so that no group holds a number twice.

    >>> endless_groups(5, 2, seed=0, start=1, stop=4).tolist()
    [[0, 1], [1, 2], [0, 3]]
    """
    per_pass = n // size
    passes = range(start // per_pass, -(-stop // per_pass))
    # A stream of its own, next to the one that orders the epochs.
    orders = [epoch_order(n, seed, 2**31 + each)[: per_pass * size] for each in passes]
    return torch.cat(orders).view(-1, size)[start - passes.start * per_pass :][: stop - start]


def order_by_class(labels: Tensor, seed: int) -> Tensor:
    """An order of which every beginning is like the whole: int64 (n,), on the CPU, whatever order the images lie in.

    The first m images are a sample stratified by class: of a class with a share p of the labels they hold p m images,
    up to about one, drawn at random. Image j (from 0, shuffled) of the n_c of its class stands at the place
    `(j + u) / n_c`, with u drawn uniformly from [0, 1) for each image.

    >>> labels = torch.tensor([0] * 6 + [1] * 3)
    >>> [labels[order_by_class(labels, seed=0)[:m]].bincount(minlength=2).tolist() for m in (3, 9)]
    [[2, 1], [6, 3]]
    """
    # A stream of its own, next to those of the epochs and the validation split.
    shuffled = epoch_order(len(labels), seed, 2**32 - 2)
    _, classes, counts = labels.cpu()[shuffled].unique(return_inverse=True, return_counts=True)
    grouped = classes.argsort(stable=True)
    within = torch.empty_like(grouped)
    within[grouped] = torch.arange(len(grouped)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    draws = torch.rand(len(grouped), dtype=torch.float64, generator=torch.Generator().manual_seed(seed % 2**63))
    return shuffled[((within + draws) / counts[classes]).argsort(stable=True)]


def sample_by_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Places of at most `count` images that stand for all: drawn by class with the seed, and sorted; int64."""
    return order_by_class(labels, seed)[:count].sort().values


def split_validation(labels: Tensor, size: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold a part of the training set out, drawn by class: training and validation indices, both sorted.

    Args:
        labels: those of the training images, (n,).
        size: a fraction of them such as 0.1 (rounded, but at least one image), or a whole number of images.
        seed: decides the choice.

    Raises:
        InputError: `size` neither a fraction in (0, 1) nor a whole number in 1 .. n - 1; `n` below 2.

    >>> train, validation = split_validation(torch.zeros(10), 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    n = len(labels)
    if n < 2:
        raise InputError(f"validation: expected at least 2 training images to hold one out, got {n}")
    if not (1 <= size < n if isinstance(size, int) else 0 < size < 1):
        raise InputError(
            f"validation: expected a fraction in (0, 1) such as 0.1, or 1 .. {n - 1} of {n} training images, "
            f"got {size!r}"
        )
    held_out = size if isinstance(size, int) else min(max(1, round(n * size)), n - 1)
    order = order_by_class(labels, seed)
    return order[held_out:].sort().values, order[:held_out].sort().values
