"""Choose RegMix's weights, which its paper does not publish, on images held out of digits' training set.

    python benchmarks/regmix_weights.py            # about an hour on one core

Measures: accuracy under PGD-10, in the l-inf balls of 0.1 and of 0.2 (each with a network of its own that was trained
for it), of 400 training images that are held out, at the end of 30 epochs of the default recipe (SmallCNN, batch 128,
one-cycle), for seeds 0, 1 and 2 (each with its own network, order and held-out images). The test set is not touched.
Stages: no regulariser and the MSE; the two weights of AMR with gamma 0; gamma with the best AMR, and alone. A setting
is better if its mean over balls and seeds is higher. Writes benchmarks/results/regmix-weights.json after every setting,
so a stopped benchmark goes on where it was.
"""

import json
import platform
import statistics
import tempfile
from pathlib import Path

import torch

import toughen
from toughen.methods import Method, RegMix
from toughen.threat import ThreatModel
from toughen.training import read_rows

RESULT = Path(__file__).parent / "results" / "regmix-weights.json"
BALLS = (0.1, 0.2)
SEEDS = (0, 1, 2)
HELD_OUT = 400
AMR = [(1, 0.3), (0.3, 1), (3, 1), (1, 3), (10, 3), (3, 10), (30, 10), (10, 30)]
GAMMAS = (1, 3, 10)

Figures = dict[str, dict[str, list[float]]]
"""Setting -> eps -> one accuracy a seed."""


def robust_accuracy(method: Method, eps: float) -> list[float]:
    """On the held-out images after the last epoch, one figure a seed."""
    figures = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            trained = toughen.train(
                method=method,
                threat=ThreatModel("linf", eps),
                seed=seed,
                val_images=HELD_OUT,
                device="cpu",
                budget="none",
                trackers=[],
                out=folder,
                overwrite=True,
            )
            figures.append(read_rows(trained.folder.metrics)[-1]["val_pgd"])
    return figures


def mean_of(figures: Figures, **weights: float | str) -> float:
    """Mean over balls and seeds of RegMix with these settings; measured where it is not known yet."""
    name = ", ".join(f"{key} {value}" for key, value in weights.items())
    known = figures.setdefault(name, {})
    for eps in BALLS:
        if str(eps) not in known:
            known[str(eps)] = robust_accuracy(RegMix(**weights), eps)
            write(figures)
    shown = [
        f"{100 * statistics.mean(values):.1f} +- {100 * statistics.stdev(values):.1f}" for values in known.values()
    ]
    print(f"{name}: {' and '.join(shown)} %", flush=True)
    return overall(known)


def overall(known: dict[str, list[float]]) -> float:
    """Mean over balls and seeds."""
    return statistics.mean(value for values in known.values() for value in values)


def write(figures: Figures) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    document = {
        "measures": "PGD-10 accuracy of 400 held-out training images of digits, one figure a seed, by l-inf eps",
        "seeds": SEEDS,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "figures": figures,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    figures: Figures = json.loads(RESULT.read_text())["figures"] if RESULT.exists() else {}
    mean_of(figures, alpha=0, beta=0, gamma=0)
    mean_of(figures, gamma=0, regularizer="mse")
    alpha, beta = max(AMR, key=lambda pair: mean_of(figures, alpha=pair[0], beta=pair[1], gamma=0))
    for gamma in GAMMAS:
        mean_of(figures, alpha=0, beta=0, gamma=gamma)
        mean_of(figures, alpha=alpha, beta=beta, gamma=gamma)
    print("best:", max(figures, key=lambda name: overall(figures[name])))


if __name__ == "__main__":
    main()
