"""Memory in use, and the search for the largest batch on limits that are known."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toughen.hardware import memory
from toughen.hardware.memory import available_memory, largest

CPU = torch.device("cpu")


def test_peak_memory_keeps_what_was_in_use() -> None:
    """In a process of its own: one that ran other tests may take the memory from what it has freed before."""
    code = (
        "import torch; from toughen.hardware.memory import peak_memory; cpu = torch.device('cpu')\n"
        "before = peak_memory(cpu); large = torch.ones(400_000_000, dtype=torch.uint8); del large\n"
        "print(peak_memory(cpu) - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 300_000_000 < int(ended.stdout) < 450_000_000


@settings(deadline=None)
@given(st.integers(2, 3000), st.integers(2, 600), st.integers(2, 5000))
def test_the_largest_within_a_sixteenth(room: int, start: int, most: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= room

    found = largest(fits, start, most)
    assert found is not None
    assert found <= min(room, most)
    assert found in tried
    assert len(set(tried)) == len(tried) <= 24
    too_large = [size for size in tried if size > room]
    assert found == most or min(too_large) - found <= max(1, found // 16)
    assert max(tried) <= most


def test_nothing_fits() -> None:
    assert largest(lambda size: False, start=32, most=100) is None


@pytest.mark.parametrize(("limit", "expected"), [("3000", 3000 - 2000 + 700), ("1000", 0), ("max", None)])
def test_a_containers_limit_counts(tmp_path, monkeypatch, limit: str, expected: int | None) -> None:
    """Of 2,000 bytes in use 700 are files that were read lately."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    for name, text in (("max", limit), ("current", "2000\n"), ("stat", "anon 1300\ninactive_file 700\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    if expected is None:
        assert available_memory() > 10**6
    else:
        assert available_memory() == expected
