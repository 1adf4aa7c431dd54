"""Models that draw random numbers of their own: the same ones each time, and none of the caller's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_state() -> Iterator[None]:
    """Give the caller's global generators back: the library seeds those of the CPU and of every GPU."""
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's global generators start from `seed`; afterwards the caller's are as they were.

    Nothing here draws from them, but a random model may. Seeded for each unit of an evaluation, its verdicts depend on
    nothing that was computed before them.

    >>> with seeded(0):
    ...     first = torch.rand(1)
    >>> with seeded(0):
    ...     assert torch.rand(1) == first
    """
    with own_random_state():
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
        yield
