"""How much longer does a training take that records itself by `--trace gradients,weights`?

    python benchmarks/trace.py                                 # five methods, two networks
    python benchmarks/trace.py --methods TRADES                # one of them

Measures: seconds of a step, of a look at the gradients of its terms and of taking down its images' weights, in turn
within one process, of one thread. A look is paid for by the steps up to the next one, whose number the run itself finds
from counted operations. Target: at most 2 % of the steps' time, for each of the two. Writes trace.json.
"""

import argparse
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from common import Figure, alternate, clock_for, finish, quartiles, seconds_of
from ours import trainer
from toughen.batch import Batch
from toughen.methods import ARAT, MART, TRADES, ARoW, Method, RegMix
from toughen.models import ResNet18, SmallCNN
from toughen.training import Trainer
from toughen.training.trace.gradients import SHARE

METHODS: dict[str, Callable[[], Method]] = {
    "TRADES": TRADES,
    "ARoW": ARoW,
    "MART": MART,
    "ARAT": ARAT,
    "RegMix": RegMix,
}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": SmallCNN,
    "resnet18-w16": partial(ResNet18, width=16),
}


def parts(run: Trainer, images: Batch) -> dict[str, Callable[[], object]]:
    """A step without records, a look, and taking down the weights of a step."""
    trace, updates = run.trace, run.updates
    gradients, weights = trace.gradients, trace.weights
    assert gradients is not None and weights is not None
    perturbed = run.method.perturb(run.model, images)
    run.train_on(images, False)  # counts its operations
    gradients.due = True
    gradients.look(images, perturbed)  # and those of a look

    with torch.no_grad():
        terms, logits = updates.step(images, perturbed), run.model(images.images)
    updates.trace = type(trace)()  # steps record nothing
    return {
        "step": lambda: run.train_on(images, False),
        "look": lambda: gradients.look(images, perturbed),
        # From the logits of passes that the step makes in any case.
        "weights": lambda: weights.add(images, terms, {"perturbed": logits, "clean": logits}),
    }


def measure(method: str, network: str, batch: int, repetitions: int) -> dict[str, Any]:
    """One row."""
    with ExitStack() as stack:
        settings = {"trace": ["gradients", "weights"]}
        run, images = trainer(METHODS[method](), NETWORKS[network], batch, stack, **settings)
        stack.enter_context(run.prepared())
        clock = clock_for(1)
        sides = {name: partial(seconds_of, part, clock) for name, part in parts(run, images).items()}
        timings = alternate(sides, repetitions)
        gradients = run.trace.gradients
        assert gradients is not None
        spacing = math.ceil(gradients.flops / (SHARE * run.meter.flops[run.kind]))
    step, look, weights = (timings[name].seconds for name in ("step", "look", "weights"))
    shares = {
        "gradients": [100 * b / a / spacing for a, b in zip(step, look, strict=True)],
        "weights": [100 * b / a for a, b in zip(step, weights, strict=True)],
    }
    return {
        "method": method,
        "network": network,
        "batch": batch,
        "clock": clock,
        "steps_a_look": spacing,
        "seconds": {name: timing.data() for name, timing in timings.items()},
        "percent": {name: (sorted(each)[len(each) // 2], quartiles(each)) for name, each in shares.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, figures = [], []
    for network in given.networks:
        for method in given.methods:
            row = measure(method, network, given.batch, given.repetitions)
            made = [
                Figure(f"trace/{method}/{network}/{name}", value, 2.0, spread, at_most=True, unit=" %")
                for name, (value, spread) in row["percent"].items()
            ]
            print("\n".join(figure.line() for figure in made), file=sys.stderr, flush=True)
            rows.append(row)
            figures += made
    finish("trace.py", vars(given), rows, figures)


if __name__ == "__main__":
    main()
