"""The measurements of gpu.py: steps on random images, and commands as a user types them."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import alternate, ratio, seconds_of
from ours import trainer
from plain_step import DEVICE, plain_step
from toughen.models import ResNet18, SmallCNN, WideResNet
from toughen.run import RunFolder
from toughen.training.log import read_rows
from training_step import METHODS

_OFTEN = 10.0
"""Seconds between two looks at a command that is at work."""


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        name: full or tiny.
        methods: whose steps are compared.
        networks: by name.
        batch: images in a step.
        large: images in a step of ResNet-18 that fills the device.
        repetitions: rounds.
        together: steps that are timed as one, so that the host can run ahead.
        product: rows of the matrices whose product gives the peak.
        training: options of `toughen train` beside the recipe's.
        evaluation: options of `toughen evaluate`.
    """

    name: str
    methods: tuple[str, ...]
    networks: dict[str, Callable[..., nn.Module]]
    batch: int
    large: int
    repetitions: int
    together: int
    product: int
    training: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()


FULL = Size(
    name="full",
    methods=tuple(METHODS),
    networks={"resnet18": ResNet18, "wrn": partial(WideResNet, depth=34, width=10)},
    batch=128,
    large=512,
    repetitions=5,
    together=5,
    product=8192,
    evaluation=("--batch_size", "1000"),
)
TINY = Size(
    name="tiny",
    methods=("TRADES", "PGDAT"),
    networks=dict.fromkeys(("resnet18", "wrn"), partial(SmallCNN, width=4)),
    batch=4,
    large=8,
    repetitions=2,
    together=1,
    product=256,
    training=("--model", "small_cnn", "--epochs", "2", "--train_images", "256", "--val_images", "16"),
    evaluation=("--batch_size", "10", "--test_images", "20"),
)


def our_step(
    stack: ExitStack, method: str, network: Callable[..., nn.Module], batch: int, compiled: bool = False
) -> tuple[Callable[[], None], float]:
    """A step of a run in bf16, and its floating-point operations."""
    run, images = trainer(METHODS[method](), network, batch, stack, precision="bf16", compile=compiled)

    def step() -> None:
        with run.prepared():  # TF32 among others, which the plain side does not have
            run.train_on(images, False)

    step()  # the first one is counted, and never compiled
    return step, run.meter.flops[run.kind] * batch


def repeated(action: Callable[[], object], times: int) -> Callable[[], float]:
    """Seconds of one of so many, timed as one."""

    def all_of_them() -> None:
        for _ in range(times):
            action()

    return lambda: seconds_of(all_of_them, "wall") / times


def steps(method: str, size: Size) -> dict[str, Any]:
    """A method's step: the plain recipe's time over ours."""
    network = size.networks["resnet18"]
    with ExitStack() as stack:
        sides = {"plain": plain_step(stack, method, network, size.batch)}
        sides["ours"], flops = our_step(stack, method, network, size.batch)
        timings = alternate(
            {name: repeated(side, size.together) for name, side in sides.items()}, size.repetitions, warmup=2
        )
    return {
        "batch": size.batch,
        "seconds": {name: timing.data() for name, timing in timings.items()},
        "ratio": ratio(timings["plain"], timings["ours"]),
        "tflops": flops / timings["ours"].median / 1e12,
    }


def share_of_peak(name: str, size: Size, *, large: bool, compiled: bool = False) -> dict[str, Any]:
    """TRADES' step on a network: its rate over that of products in bf16, which are timed in turn with it."""
    batch = size.large if large else size.batch
    a, b = (torch.randn(size.product, size.product, device=DEVICE).bfloat16() for _ in range(2))
    with ExitStack() as stack:
        step, flops = our_step(stack, "TRADES", size.networks[name], batch, compiled)
        sides = {"step": repeated(step, size.together), "product": repeated(lambda: a @ b, 10 * size.together)}
        timings = alternate(sides, size.repetitions, warmup=4 if compiled else 2)  # graphs are recorded in the third
    rates = [2 * size.product**3 / seconds for seconds in timings["product"].seconds]
    return {
        "batch": batch,
        "large": large,
        "seconds": {name: timing.data() for name, timing in timings.items()},
        "tflops": flops / timings["step"].median / 1e12,
        "peak_tflops": statistics.median(rates) / 1e12,
        "share": flops / timings["step"].median / statistics.median(rates),
    }


def command(words: list[str], out: Path, before: float, unfinished: Callable[[float], None]) -> dict[str, Any]:
    """`toughen WORDS` in a process of its own, from its start to its end, and what it left in its folder.

    Args:
        words: of the command line.
        out: the folder.
        before: seconds of the same command that was cut off.
        unfinished: told now and then how many seconds it has taken.

    Raises:
        RuntimeError: it failed; its last line.
    """
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "toughen", *words], stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=_OFTEN)
                break
            except subprocess.TimeoutExpired:
                unfinished(before + time.perf_counter() - began)
    if process.returncode:
        raise RuntimeError(next(iter(errors.strip().splitlines()[-1:]), f"exit status {process.returncode}"))
    row: dict[str, Any] = {"seconds": before + time.perf_counter() - began, "command": " ".join(words)}
    result = out / "result.json"
    if result.exists():
        found = json.loads(result.read_text())
        row |= {name: found.get(name) for name in ("n", "complete", "robust_accuracy", "figures", "audit", "doubts")}
        row["attack_seconds"] = found["seconds"]
    else:
        rows = read_rows(RunFolder(out).metrics)
        row |= {"epochs": len(rows), "last": rows[-1]}
    return row
