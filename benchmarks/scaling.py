"""Do a step's time and an evaluation's grow as they should, and does a step need no more memory than the plain one?

    python benchmarks/scaling.py
    python benchmarks/scaling.py --grown images classes pixels --memory   # an evaluation alone: two minutes

Measures: seconds of a TRADES step of a run of `toughen train` (ResNet-18, fp32), while one of batch, width, attack
steps and image size is doubled at a time, all sizes in turn within one run; and by how much the process's memory
grows over a few steps of TRADES, AR-AT and RegMix, ours and the plain recipe's, at two batch sizes. And seconds of an
evaluation (`--budget quick` without self-checks, SmallCNN of width 8, random images) while one of images, classes and
pixels grows. The exponent is the slope of log time over log size: 1 where time is in proportion (batch, attack steps,
images, pixels), 2 where it is to the square (width, image size); classes count only in the last layer and in tables, so
a tenth. An exponent of at most 1.1 times that meets the target; there are parts that do not grow, so smaller ones are
usual. Writes scaling.json and scaling-evaluation.json.
"""

import argparse
import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any

import torch

from common import Figure, alternate, clock_for, finish
from ours import trainer
from plain_step import plain_step
from toughen.attacks import GradientAttack
from toughen.data.source import Decoded, ImageSet
from toughen.evaluation import evaluate_model
from toughen.evaluation.settings import EvaluationSettings
from toughen.methods import ARAT, TRADES, Method, RegMix
from toughen.models import ResNet18, SmallCNN
from toughen.threat import ThreatModel
from worker import Worker

SMALL = {"batch": 16, "width": 16, "attack_steps": 5, "image_size": 32}
EVALUATED = {"images": 32, "classes": 10, "pixels": 32 * 32}
GROWN = {
    "batch": (16, 32, 64),
    "width": (16, 32, 64),
    "attack_steps": (5, 10, 20),
    "image_size": (32, 64),
    "images": (32, 64, 128),
    "classes": (10, 100, 1000),
    "pixels": (16 * 16, 32 * 32, 64 * 64),
}
METHODS: dict[str, Callable[[], Method]] = {"TRADES": TRADES, "ARAT": ARAT, "RegMix": RegMix}
ORDERS = {"batch": 1, "width": 2, "attack_steps": 1, "image_size": 2, "images": 1, "classes": 0.1, "pixels": 1}


def trades_step(stack: ExitStack, batch: int, width: int, attack_steps: int, image_size: int) -> Callable[[], None]:
    """A step of a run of TRADES."""
    method = TRADES(attack=GradientAttack(steps=attack_steps, start="normal"))
    return fast_step(stack, method, batch, width, image_size)


def fast_step(stack: ExitStack, method: Method, batch: int, width: int, image_size: int = 32) -> Callable[[], None]:
    """A step of a run."""
    run, images = trainer(method, partial(ResNet18, width=width), batch, stack, size=image_size, precision="fp32")
    stack.enter_context(run.prepared())
    return lambda: run.train_on(images, False)


def evaluation(stack: ExitStack, images: int, classes: int, pixels: int) -> Callable[[], None]:
    """A whole evaluation in batches of 32."""
    generator, side = torch.Generator().manual_seed(0), math.isqrt(pixels)
    data = torch.randint(256, (images, 3, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.randint(classes, (images,), generator=generator)
    of = ImageSet(Decoded(data), labels, tuple(map(str, range(classes))), "random")
    torch.manual_seed(0)
    network, settings = (
        SmallCNN(classes, width=8),
        EvaluationSettings("quick", checks=False, batch_size=32, device="cpu"),
    )
    return lambda: evaluate_model(network, of, ThreatModel("linf", "8/255"), settings) and None


def growth(name: str, threads: int, repetitions: int) -> dict[str, Any]:
    """Times while `name` grows, and the slope from the smallest to the largest."""
    sizes = GROWN[name]
    with ExitStack() as stack:
        sides = {}
        for size in sizes:
            build, small = (trades_step, SMALL) if name in SMALL else (evaluation, EVALUATED)
            side = Worker(build, *{**small, name: size}.values(), threads=threads, clock=clock_for(threads))
            sides[str(size)] = stack.enter_context(side).seconds
        timings = alternate(sides, repetitions, warmup=2 if name in SMALL else 1)
    first, last = (timings[str(size)].median for size in (sizes[0], sizes[-1]))
    slope = math.log(last / first) / math.log(sizes[-1] / sizes[0])
    return {"grown": name, "seconds": {size: t.data() for size, t in timings.items()}, "exponent": slope}


def memory(method: str, batch: int, threads: int) -> dict[str, Any]:
    """What either side's process grows by over four steps."""
    sides = {
        "plain": (plain_step, method, partial(ResNet18, width=32), batch),
        "fast": (fast_step, METHODS[method](), batch, 32),
    }
    grown = {}
    for name, (build, *arguments) in sides.items():
        with Worker(build, *arguments, threads=threads, clock=clock_for(threads)) as worker:
            for _ in range(4):
                worker.seconds()
            grown[name] = worker.grown()
    return {"method": method, "batch": batch, "width": 32, "bytes": grown, "ratio": grown["fast"] / grown["plain"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grown", nargs="*", choices=GROWN, default=list(GROWN))
    parser.add_argument("--memory", nargs="*", type=int, default=[32, 128], help="batch sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    for script, of in (("scaling.py", SMALL), ("scaling-evaluation.py", EVALUATED)):
        rows = [growth(name, given.threads, given.repetitions) for name in given.grown if name in of]
        figures = [
            Figure(f"scaling/{row['grown']}", row["exponent"], 1.1 * ORDERS[row["grown"]], at_most=True, unit="")
            for row in rows
        ]
        for method, batch in product(METHODS, given.memory if of is SMALL else ()):
            rows.append(memory(method, batch, given.threads))
            figures.append(Figure(f"scaling/memory/{method}/batch{batch}", rows[-1]["ratio"], 1.0, at_most=True))
        if rows:
            finish(script, vars(given), rows, figures)


if __name__ == "__main__":
    main()
