"""Host memory that a process keeps from one pass to the next."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's names for its settings, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1
_LARGEST_MMAP = 2**25
"""The largest threshold that every glibc takes."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed memory with the process inside, and give it back at the end.

    glibc returns large blocks to the system as soon as they are free. A network's activations are freed after every
    pass, so every pass has its memory mapped, and filled with zeros by the kernel, anew: about a tenth of the time of
    an inner maximum on a CPU. The process needs no more than in its largest pass. Afterwards the limits are those
    that glibc itself grows to with blocks of such sizes. Elsewhere than with glibc nothing happens.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _ = libc.mallopt(_MMAP_THRESHOLD, _LARGEST) or libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP)
    libc.mallopt(_TRIM_THRESHOLD, _LARGEST)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None
