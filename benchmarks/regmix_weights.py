"""Choose RegMix's weights, which its paper does not publish, on images held out of digits' training set.

    python benchmarks/regmix_weights.py            # about 25 minutes on one core

Measures: accuracy under PGD-10 at l-inf 0.1 of 400 training images that are held out, at the end of 30 epochs of the
default recipe (SmallCNN, batch 128, one-cycle), mean over seeds 0, 1 and 2 (each with its own network, order and held-out
images). The test set is not touched. Three stages: the two weights of AMR with gamma 0; gamma with the best AMR, and
alone; the baselines. Prints a line a setting and writes benchmarks/results/regmix-weights.json.
"""

import json
import platform
import statistics
import tempfile
from pathlib import Path

import torch

import toughen
from toughen.methods import Method, RegMix
from toughen.training import read_rows

RESULT = Path(__file__).parent / "results" / "regmix-weights.json"
SEEDS = (0, 1, 2)
HELD_OUT = 400
AMR = [(1, 0.3), (0.3, 1), (3, 1), (1, 3), (10, 3), (3, 10), (30, 10), (10, 30)]
GAMMAS = (1, 3, 10)


def robust_accuracy(method: Method) -> list[float]:
    """On the held-out images after the last epoch, one figure a seed."""
    figures = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            trained = toughen.train(
                method=method,
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


def main() -> None:
    results: dict[str, list[float]] = {}

    def mean_of(**weights: float | str) -> float:
        name = ", ".join(f"{key} {value}" for key, value in weights.items())
        if name not in results:
            results[name] = robust_accuracy(RegMix(**weights))
            mean, spread = statistics.mean(results[name]), statistics.stdev(results[name])
            print(f"{name}: {100 * mean:.1f} % (standard deviation over seeds {100 * spread:.1f})", flush=True)
        return statistics.mean(results[name])

    alpha, beta = max(AMR, key=lambda pair: mean_of(alpha=pair[0], beta=pair[1], gamma=0))
    for gamma in GAMMAS:
        mean_of(alpha=alpha, beta=beta, gamma=gamma)
        mean_of(alpha=0, beta=0, gamma=gamma)
    mean_of(alpha=0, beta=0, gamma=0)
    mean_of(gamma=0, regularizer="mse")
    best = max(results, key=lambda name: statistics.mean(results[name]))
    print(f"best: {best}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps(
            {
                "measures": "PGD-10 accuracy on 400 held-out training images of digits, linf 0.1, one figure a seed",
                "seeds": SEEDS,
                "torch": torch.__version__,
                "machine": platform.processor() or platform.machine(),
                "results": results,
                "best": best,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
