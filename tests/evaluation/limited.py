"""Code of processes of which the system limits the memory."""

import os
import subprocess
import sys

LIMIT = """
import resource, sys
import torch

soft = resource.getrlimit(resource.RLIMIT_AS)[0]

def limit(more):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more if more else soft, resource.getrlimit(resource.RLIMIT_AS)[1]))

torch.set_num_threads(1)
"""
"""`limit(bytes)`: how much more than now the process may have from now on; 0 for no limit."""


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of this code, in which every tensor is memory of its own: what is in use is what is needed."""
    return subprocess.run(
        [sys.executable, "-c", LIMIT + code, *words],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
