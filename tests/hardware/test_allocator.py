"""Memory that stays with the process, seen in the page faults and the resident size that the system counts.

In a process of its own: where others have left the heap no room to grow, glibc maps every block whatever it is told.
"""

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
import psutil
from toughen.hardware.allocator import memory_kept

BYTES = 2**26

def faults():
    # Pages that the system maps while blocks are written and freed, once as many have been so before.
    before = 0
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(2):
            _ = b"x" * BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

resident = psutil.Process().memory_info().rss
try:
    with memory_kept():
        mapped = faults()
        if sys.argv[1] == "fails":
            raise ValueError("inside")
except ValueError:
    pass
print(mapped / (2 * BYTES / resource.getpagesize()), (psutil.Process().memory_info().rss - resident) / BYTES)
"""


@pytest.mark.parametrize("end", ["ends", "fails"])
def test_blocks_are_not_mapped_again_and_go_back_in_the_end(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, end], capture_output=True, text=True, check=True)
    mapped, left = (float(share) for share in done.stdout.split())
    assert left < 1
    assert mapped < 1 / 4 or platform.libc_ver()[0] != "glibc"
