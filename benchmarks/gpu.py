"""Everything that waits for a GPU: figure 2, CUDA graphs, a 30-epoch run, and both budgets on 10,000 images.

    python benchmarks/gpu.py --cifar10 FOLDER                # Parquet files of CIFAR-10 in the Hugging Face layout
    python benchmarks/gpu.py --cifar10 FOLDER --size tiny    # all of it in small, in a minute or two on a CPU

It needs no network. Each measurement is written as it is made, and the run and the evaluations lie in --runs, so that
the same command goes on wherever it was cut off, with what failed too; `--only` makes some. From the source tree,
without an installation, beside torch, torchvision, accelerate, pyarrow and the other dependencies of pyproject.toml
that a machine for PyTorch has; those that it lacks may be wheels:

    pip download --no-deps -d wheels docstring-parser jsonargparse pyautoattack    # where there is a network
    zip -qd wheels/pyautoattack-*.whl 'pyautoattack/examples/*'    # 45 MB, where that is too much to carry
    PYTHONPATH=src:$(echo wheels/*.whl | tr ' ' ':') python benchmarks/gpu.py --cifar10 FOLDER

Measures, on random images but for the last three: seconds of a step of the plain recipes and of ours in bf16, in turn;
the share of the bf16 product rate that a step of TRADES reaches, beside products in turn with it; the same compiled,
which on a GPU replays CUDA graphs; and the commands `toughen train` and `toughen evaluate`, their start included.
Targets: 5x; 35 % for ResNet-18 at batch 512, 50 % for WRN-34-10; the run within 10 minutes, budget fast within 3,
AutoAttack at least 48 %. Writes gpu.json, or gpu-tiny.json, which no page shows.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import Figure, finish, results_of, write
from gpu_parts import FULL, TINY, Size, command, share_of_peak, steps

Row = dict[str, Any]
HERE = Path(__file__)


class Measured:
    """What was measured so far, by name, on disk at any time.

    Args:
        script: whose results these are.
        arguments: of the script; what was measured with others is measured again.
    """

    def __init__(self, script: str, arguments: Row) -> None:
        self.script, self.arguments = script, arguments
        path = results_of(script)
        report = json.loads(path.read_text()) if path.exists() else {}
        known = report.get("rows", []) if report.get("arguments") == arguments else []
        self.rows: dict[str, Row] = {row["name"]: row for row in known}

    def done(self, name: str) -> bool:
        """Whether it need not be measured again."""
        return name in self.rows and not {"failed", "unfinished"} & self.rows[name].keys()

    def keep(self, name: str, row: Row) -> None:
        """Write a measurement, whole or, with `unfinished`, as far as it is."""
        self.rows[name] = {"name": name, **row}
        write(self.script, self.arguments, list(self.rows.values()), figures_of(self.rows))

    def spent(self, name: str) -> float:
        """Seconds that went into a measurement which was cut off."""
        return float(self.rows.get(name, {}).get("unfinished", 0.0))

    def make(self, name: str, measure: Callable[[], Row]) -> None:
        """Make one that is not there yet; where it fails, that is what is written."""
        if self.done(name):
            return
        print(f"== {name}", file=sys.stderr, flush=True)
        try:
            row = measure()
        except Exception as error:
            traceback.print_exc()
            row = {"failed": f"{type(error).__name__}: {error}"[:500]}
        self.keep(name, row)


def figures_of(rows: dict[str, Row]) -> list[Figure]:
    """The figures of what was measured, with their targets."""
    made = {name: row for name, row in rows.items() if not {"failed", "unfinished"} & row.keys()}
    figures = []
    for name, row in made.items():
        if name.startswith("step/"):
            figures.append(Figure(name, row["ratio"][0], 5.0, row["ratio"][1]))
        elif name.startswith(("share/", "compiled/")):
            target = 50.0 if "wrn" in name else 35.0 if row["large"] else None
            figures.append(Figure(name, 100 * row["share"], target, unit=" %"))
    if "train" in made:
        figures.append(Figure("train", made["train"]["seconds"] / 60, 10.0, at_most=True, unit=" min"))
    if "fast" in made:
        figures.append(Figure("fast", made["fast"]["seconds"] / 60, 3.0, at_most=True, unit=" min"))
    if "standard" in made:
        figures.append(Figure("standard", made["standard"]["seconds"] / 60, None, at_most=True, unit=" min"))
        value = made["standard"]["robust_accuracy"]["accuracy"]
        figures.append(Figure("standard/AutoAttack", 100 * value, 48.0, unit=" %"))
    return figures


def measurements(size: Size, given: argparse.Namespace, measured: Measured) -> dict[str, Callable[[], Row]]:
    """All there are, the cheap ones first; those that compile last."""
    run = given.runs / f"{size.name}-trades"
    evaluate = ["evaluate", str(run), "--precision", "auto", *size.evaluation]
    train = ["train", "--config", "cifar10-resnet18-trades-30epochs", "--data", "parquet", "--data.path", given.cifar10]
    train += ["--budget", "none", "--out", str(run), "--resume", "auto", *size.training]

    def commanded(name: str, words: list[str], out: Path) -> Row:
        def unfinished(seconds: float) -> None:
            measured.keep(name, {"unfinished": seconds})

        return command(words, out, measured.spent(name), unfinished)

    made: dict[str, Callable[[], Row]] = {}
    for method in size.methods:
        made[f"step/{method}"] = partial(steps, method, size)
    for name, large in (("resnet18", False), ("resnet18-large", True), ("wrn", False)):
        made[f"share/{name}"] = partial(share_of_peak, name.split("-")[0], size, large=large)
    made["train"] = partial(commanded, "train", train, run)
    for budget in ("fast", "standard"):
        out = run / budget
        made[budget] = partial(commanded, budget, [*evaluate, "--budget", budget, "--out", str(out)], out)
    for name, large in (("resnet18", False), ("resnet18-large", True), ("wrn", False)):
        made[f"compiled/{name}"] = partial(share_of_peak, name.split("-")[0], size, large=large, compiled=True)
    return made


def main() -> int:
    """Make what is missing; 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", required=True, help="folder of CIFAR-10 in Parquet files")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/gpu"), help="where the run and its evaluations are kept"
    )
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names, such as step/ train")
    given = parser.parse_args()
    if given.size == "full" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --size tiny tries everything in small")
    size = FULL if given.size == "full" else TINY
    script = "gpu.py" if size is FULL else "gpu-tiny.py"
    measured = Measured(script, {"size": size.name})
    for name, measure in measurements(size, given, measured).items():
        if not given.only or name.startswith(tuple(given.only)):
            measured.make(name, measure)
    finish(script, measured.arguments, list(measured.rows.values()), figures_of(measured.rows))
    failed = [f"{name}: {row['failed']}" for name, row in measured.rows.items() if "failed" in row]
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
