"""The cost of a run: FLOPs, speed against the device's own limit, memory and device-hours."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

from toughen.hardware.memory import peak_memory
from toughen.hardware.speed import FlopCounter, matmul_peak
from toughen.training.log import Row

COLUMNS = (
    "images_per_second",
    "seconds",
    "flops_per_second",
    "share_of_peak",
    "peak_memory_bytes",
    "device_hours",
    "flops",
)
"""What `Meter.figures` adds to an epoch's row; all but the last differ between runs with the same seed."""


class Meter:
    """Counts a run's FLOPs and its time.

    FLOPs are those of matrix products and convolutions, forward and backward, inner maximum included. They are counted
    in one real step for each kind of step (an attack of so many steps on images of such a size). `spent` is what all
    steps of all processes took since the run's start, those of rollbacks too; validation and the guards' looks are not
    in it. It is NaN in a run that a version without it began.

    Args:
        device: the one on which the run computes.
        dtype: that of the products that the speed is compared with.
        processes: number of processes.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, processes: int = 1) -> None:
        self.device, self.dtype, self.processes = device, dtype, processes
        self.flops: dict[str, float] = {}
        self.spent = 0.0
        self.peak: float | None = None
        self._began, self._before = time.perf_counter(), 0.0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def knows(self, kind: str) -> bool:
        """Whether a step of this kind has been counted."""
        return kind in self.flops

    @contextmanager
    def counting(self, kind: str, images: int) -> Iterator[None]:
        """Count the step inside, on so many images. What compiled code computes is hidden from the counter."""
        with FlopCounter() as counter:
            yield
        self.flops[kind] = counter.flops / images

    def stepped(self, kind: str, images: int) -> float:
        """FLOPs of a step of this kind, on so many images of each process; adds them to what the run has spent."""
        flops = self.flops[kind] * images * self.processes
        self.spent += flops
        return flops

    def figures(self, flops: float, images: int, seconds: float) -> Row:
        """Values of an epoch's `COLUMNS`.

        Args:
            flops: those of its steps, of all processes together.
            images: that all processes took together.
            seconds: that the epoch's training took.
        """
        memory = peak_memory(self.device)
        if self.peak is None:
            self.peak = matmul_peak(self.device, self.dtype)
        seconds = max(seconds, 1e-9)
        rate = flops / seconds
        values = (images / seconds, seconds, rate, rate / (self.peak * self.processes), memory, self.hours, self.spent)
        return dict(zip(COLUMNS, values, strict=True))

    @property
    def hours(self) -> float:
        """Device-hours since the run's start, of all processes together, with validation and without pauses."""
        return self.processes * (self._before + time.perf_counter() - self._began) / 3600

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"flops": self.flops, "spent": self.spent, "device_seconds": 3600 * self.hours}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.flops, self.spent = dict(state["flops"]), state.get("spent", math.nan)
        self._began, self._before = time.perf_counter(), state["device_seconds"] / self.processes


def in_words(rows: list[Row]) -> str:
    """The cost of a run in a line, from the rows of its metrics.csv; speeds are those of the median epoch.

    Rows without these columns, as of an older version or edited, are left out.

    >>> in_words([dict(zip(COLUMNS, (900.0, 2.0, 3.1e10, 0.2, 4e8, 0.5, 6.2e13), strict=True))])
    '6.2e+13 FLOPs, 0.5 device-hours, 900 images/s, 31 GFLOP/s (20 % of a large matrix product here), 0.40 GB at most'
    """
    rows = [row for row in rows if row.keys() >= set(COLUMNS[:-1])]
    if not rows:
        return "not recorded"
    speed, flops, share = (median(row[name] for row in rows) for name in COLUMNS[:1] + COLUMNS[2:4])
    memory = max(row["peak_memory_bytes"] for row in rows)
    spent = rows[-1].get("flops", math.nan)
    return (
        f"{'' if math.isnan(spent) else f'{spent:.3g} FLOPs, '}{rows[-1]['device_hours']:.2g} device-hours, "
        f"{speed:,.0f} images/s, {flops / 1e9:,.3g} GFLOP/s ({100 * share:.0f} % of a large matrix product here), "
        f"{memory / 1e9:.2f} GB at most"
    )
