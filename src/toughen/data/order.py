"""Which image comes when: seeded permutations and the validation split."""

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


def split_validation(n: int, size: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold a random part of the training set out: training indices and validation indices, both sorted.

    Args:
        n: training images.
        size: a fraction of them such as 0.1 (rounded, but at least one image), or a whole number of images.
        seed: of the choice.

    Raises:
        InputError: `size` neither a fraction in (0, 1) nor a whole number in 1 .. n - 1; `n` below 2.

    >>> train, validation = split_validation(10, 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    if n < 2:
        raise InputError(f"validation: expected at least 2 training images to hold one out, got {n}")
    if not (1 <= size < n if isinstance(size, int) else 0 < size < 1):
        raise InputError(
            f"validation: expected a fraction in (0, 1) such as 0.1, or 1 .. {n - 1} of {n} training images, "
            f"got {size!r}"
        )
    held_out = size if isinstance(size, int) else min(max(1, round(n * size)), n - 1)
    # A stream of its own, next to the one that orders the epochs.
    order = epoch_order(n, seed, 2**32 - 1)
    return order[held_out:].sort().values, order[:held_out].sort().values
