"""Memory that stays with the process, seen in the page faults and the resident size that the system counts."""

import platform
import resource

import psutil
import pytest

from toughen.hardware.allocator import memory_kept

BYTES = 2**26


def faults() -> int:
    """Pages that the system maps while blocks are written and freed, once as many have been so before."""
    before = 0
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(2):
            _ = b"x" * BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_blocks_are_not_mapped_again_and_go_back_in_the_end() -> None:
    pages = 2 * BYTES / resource.getpagesize()
    resident = psutil.Process().memory_info().rss
    with memory_kept():
        mapped = faults()
    assert psutil.Process().memory_info().rss < resident + BYTES
    assert mapped < pages / 4 or platform.libc_ver()[0] != "glibc"


def test_memory_goes_back_after_an_error_too() -> None:
    resident = psutil.Process().memory_info().rss
    with pytest.raises(ValueError, match="inside"), memory_kept():
        faults()
        raise ValueError("inside")
    assert psutil.Process().memory_info().rss < resident + BYTES
