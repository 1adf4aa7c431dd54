"""How much faster is a training step than the plain published recipe's?

    python benchmarks/training_step.py                                # six methods, two networks, 1 and 2 threads
    python benchmarks/training_step.py --methods TRADES --threads 1   # some of it

Measures: seconds of one step (inner maximum, loss, update) of `benchmarks/plain/<method>.py` and of a run of `toughen
train`, on the same network, batch and attack, in fp32 and in bf16, in turn within one run; beside them the rate of
matrix products in fp32 and bf16, and the share of it that a step reaches (its floating-point operations, counted,
over its time). Targets: 3.0x (TRADES, ARoW) and 2.5x (others) in bf16 on a CPU that has AVX512-bf16 or AMX, 1.6x in
fp32, 85 % of the bf16 rate for ResNet-18. Writes training_step.json.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from common import Figure, alternate, clock_for, finish, machine, ratio
from ours import trainer
from plain_step import DEVICE, plain_step
from toughen.methods import ARAT, D2R, PGDAT, TRADES, ARoW, Method, RegMix
from toughen.models import ResNet18, WideResNet
from worker import Worker

METHODS: dict[str, Callable[[], Method]] = {
    "PGDAT": PGDAT,
    "TRADES": TRADES,
    "ARoW": ARoW,
    "ARAT": ARAT,
    "D2R": D2R,
    "RegMix": RegMix,
}
BF16_TARGETS = {"TRADES": 3.0, "ARoW": 3.0}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZE = 1024 if DEVICE == "cpu" else 8192


def fast_step(
    stack: ExitStack, method: str, network: Callable[..., nn.Module], batch: int, precision: str
) -> Callable[[], None]:
    """A step of a run."""
    run, images = trainer(METHODS[method](), network, batch, stack, precision=precision)
    stack.enter_context(run.prepared())
    return lambda: run.train_on(images, False)


def rate(stack: ExitStack, dtype: torch.dtype) -> Callable[[], object]:
    """A product of two square matrices."""
    a, b = (torch.randn(SIZE, SIZE, device=DEVICE).to(dtype) for _ in range(2))
    return lambda: a @ b


def measure(
    method: str, name: str, network: Callable[..., nn.Module], batch: int, threads: int, repetitions: int
) -> dict[str, Any]:
    """One row: both sides, and the rates of matrix products, in turn."""
    clock = clock_for(threads)
    with ExitStack() as stack:
        worker = partial(Worker, threads=threads, clock=clock)
        sides = {"plain": worker(plain_step, method, network, batch)}
        sides |= {p: worker(fast_step, method, network, batch, p) for p in PRECISIONS}
        products = {f"matmul_{p}": worker(rate, dtype) for p, dtype in PRECISIONS.items()}
        every = {name: stack.enter_context(side) for name, side in {**sides, **products}.items()}
        timings = alternate({name: side.seconds for name, side in every.items()}, repetitions, warmup=2)
        flops = {name: side.flops() for name, side in sides.items()}
        memory = {name: side.grown() for name, side in sides.items()}
    rates = {p: 2 * SIZE**3 / timings[f"matmul_{p}"].median for p in PRECISIONS}
    return {
        "method": method,
        "network": name,
        "threads": threads,
        "batch": batch,
        "clock": clock,
        "seconds": {name: timing.data() for name, timing in timings.items()},
        "ratio": {p: ratio(timings["plain"], timings[p]) for p in PRECISIONS},
        "gflop": {name: count / 1e9 for name, count in flops.items()},
        "memory_mb": {name: size / 1e6 for name, size in memory.items()},
        "matmul_gflops": {p: value / 1e9 for p, value in rates.items()},
        "share_of_matmul": {p: flops[p] / timings[p].median / rates[p] for p in PRECISIONS},
    }


def figures_of(row: dict[str, Any], fast_bf16: bool) -> list[Figure]:
    """The row's figures with their targets."""
    count = row["threads"]
    name = f"training_step/{row['method']}/{row['network']}/{count}thread{'s' if count > 1 else ''}"
    targets = {"fp32": 1.6, "bf16": BF16_TARGETS.get(row["method"], 2.5) if fast_bf16 else None}
    figures = []
    for precision, target in targets.items():
        value, spread = row["ratio"][precision]
        figures.append(Figure(f"{name}/{precision}", value, target, spread))
    if row["network"].startswith("resnet18"):
        share = row["share_of_matmul"]["bf16"]
        figures.append(Figure(f"{name}/bf16_share_of_matmul", share, 0.85 if fast_bf16 else None, unit=""))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=["resnet18", "wrn"], default=["resnet18", "wrn"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--width", type=int, default=32, help="of the ResNet-18; the WRN has depth 16 and a 16th of it")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=7)
    given = parser.parse_args()
    networks = {
        "resnet18": (f"resnet18-w{given.width}", partial(ResNet18, width=given.width)),
        "wrn": (f"wrn16-{given.width // 16}", partial(WideResNet, depth=16, width=given.width // 16)),
    }
    facts = machine()
    rows, figures = [], []
    for count in given.threads:
        for network in given.networks:
            for method in given.methods:
                row = measure(method, *networks[network], given.batch, count, given.repetitions)
                rows.append(row)
                made = figures_of(row, facts["avx512_bf16"] or facts["amx_tile"])
                print("\n".join(figure.line() for figure in made), file=sys.stderr, flush=True)
                figures += made
    finish("training_step.py", vars(given), rows, figures)


if __name__ == "__main__":
    main()
