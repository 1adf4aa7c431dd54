"""What every speed benchmark shares: the machine, sides timed in turn, the JSON, and the lines at the end.

A figure's ratio is the median over the rounds of `plain's time / ours` within a round, so that whatever slows the
machine down for a while slows both sides down. `processor` time is taken for one thread, where it is the wall time of
a machine with nothing else to do; `wall` time for more, and on a GPU.
"""

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

import toughen
from toughen.hardware.device import find_device
from toughen.hardware.precision import choose_precision

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS", Path(__file__).parent / "results"))
Clock = Literal["processor", "wall"]


@dataclass(frozen=True)
class Timing:
    """Seconds of the rounds of one side."""

    median: float
    quartiles: tuple[float, float]
    seconds: list[float]

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        return cls(statistics.median(seconds), quartiles(seconds), seconds)

    def data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Figure:
    """One figure with its target, which is met from there on, or (`at_most`, for a cost) up to there."""

    name: str
    value: float
    target: float | None
    spread: tuple[float, float] | None = None
    at_most: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def line(self) -> str:
        """`name  ratio  target  met|missed`; a dash where the figure is for information."""
        bound = "-" if self.target is None else f"{'<=' if self.at_most else '>='}{self.target:g}{self.unit}"
        verdict = {None: "-", True: "met", False: "missed"}[self.met]
        return f"{self.name}  {self.value:.2f}{self.unit}  {bound}  {verdict}"

    def data(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def quartiles(values: list[float]) -> tuple[float, float]:
    """The lower and the upper quartile; the value itself where there is one."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def clock_for(threads: int) -> Clock:
    """Which time is taken."""
    return "processor" if threads == 1 and not torch.cuda.is_available() else "wall"


def seconds_of(action: Callable[[], object], clock: Clock) -> float:
    """How long one call takes, the GPU's work included."""
    now = time.process_time if clock == "processor" else time.perf_counter
    synchronise()
    began = now()
    action()
    synchronise()
    return now() - began


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(sides: dict[str, Callable[[], float]], repetitions: int, warmup: int = 1) -> dict[str, Timing]:
    """Time the sides, each a function that gives seconds, in turn, every other round in the reverse order."""
    for _ in range(warmup):
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(repetitions):
        for name in list(sides)[:: -1 if repetition % 2 else 1]:
            seconds[name].append(sides[name]())
    return {name: Timing.of(values) for name, values in seconds.items()}


def ratio(slow: Timing, fast: Timing) -> tuple[float, tuple[float, float]]:
    """How many times faster, median and quartiles over the rounds."""
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return statistics.median(ratios), quartiles(ratios)


def matmul_rate(dtype: torch.dtype, clock: Clock, device: str = "cpu", size: int | None = None) -> float:
    """FLOP/s of the product of two square matrices in this dtype, the median of nine."""
    n = size or (1024 if device == "cpu" else 8192)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / alternate({"matmul": lambda: seconds_of(lambda: a @ b, clock)}, 9, warmup=3)["matmul"].median


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    cpu_has = {name: bool(getattr(torch.cpu, f"_is_{name}_supported", bool)()) for name in ("avx512_bf16", "amx_tile")}
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        **cpu_has,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "auto": choose_precision("auto", find_device("auto")),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "toughen": toughen.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def place_of(facts: dict[str, Any]) -> Path:
    """The folder of a machine's figures: `results/amd-epyc-family-25-model-17-2-cores`, or of its GPU's name."""
    name = facts["gpu"] or f"{facts['cpu']} {facts['cores']} cores"
    words = re.findall("[a-z0-9]+", re.sub(r"\((r|tm)\)|\bprocessor\b", "", name.lower()))
    return RESULTS / "-".join(words)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line) if info.exists() else {}
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    if "model name" not in facts:
        return platform.processor()
    return f"{facts['model name']}, family {facts.get('cpu family')} model {facts.get('model')}"


def results_of(script: str) -> Path:
    """The file of a script's figures on this machine."""
    return place_of(machine()) / f"{Path(script).stem}.json"


def write(script: str, arguments: dict[str, Any], rows: list[dict[str, Any]], figures: list[Figure]) -> dict[str, Any]:
    """Write `results/<machine>/<script>.json`, whole or not at all; what the figures belong to."""
    facts = {"script": script, "arguments": arguments, "machine": machine()}
    path = results_of(script)
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {**facts, "rows": rows, "figures": [figure.data() for figure in figures]}
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(report, indent=1) + "\n")
    beside.replace(path)
    return facts


def finish(script: str, arguments: dict[str, Any], rows: list[dict[str, Any]], figures: list[Figure]) -> None:
    """Write the results, and print the machine and one line a figure."""
    print(json.dumps(write(script, arguments, rows, figures)), file=sys.stderr)
    print("\n".join(figure.line() for figure in figures), flush=True)
