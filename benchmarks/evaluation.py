"""Figure 4: an evaluation against pyautoattack called directly.

    python benchmarks/evaluation.py                                # Fashion-MNIST, an hour on one core
    python benchmarks/evaluation.py --cifar10 FOLDER               # CIFAR-10, from Parquet files: three hours
    python benchmarks/evaluation.py --quick                        # 100 images

One model, 1,000 test images in batches of 250, the default of both, AutoAttack standard in l-inf. Directly: the model
in eval mode and nothing else, `run_standard_evaluation`. Ours: `toughen evaluate --precision auto`, as its engine
runs AutoAttack on a batch, the check in fp32 included. The sides take their batches in turn, each in a process of its
own, with the same seeds; the ratio is the median over the batches. That only images need a gradient is part of our
side. Verdicts: the share of images that held under both or under neither. Targets: 2x, where the search is in bf16 3x,
with 99.9 % of the verdicts, and robust accuracies at most 0.1 points apart. The models are those of robust_models.py.
They and each batch are kept in --runs, so a stopped benchmark goes on where it was. Writes
evaluation.json, with --cifar10 evaluation-cifar10.json.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from common import Figure, Timing, clock_for, finish, ratio
from robust_models import THREATS, robust_model, source
from toughen.attacks import AutoAttack
from toughen.attacks.base import PlannedAttack
from toughen.attacks.fast_search import choose_search, in_precision
from toughen.batch import Batch
from toughen.data.source import DataSource, ImageSet
from toughen.evaluation import wilson
from toughen.evaluation.plan import choose_images
from toughen.evaluation.verify import judge, judge_clean
from toughen.hardware.allocator import memory_kept
from toughen.models import forward_flops
from toughen.models.inference import frozen
from worker import Worker

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Given = dict[str, Any]


class Rounds:
    """The batches of a benchmark that are not kept yet, one at each call; verdicts go into a file."""

    def __init__(self, given: Given, side: str) -> None:
        self.data, self.given, self.side = _data(given), given, side
        self.images = self.data.load("test")
        self.indices = choose_images(self.images.labels, given["images"], "random", 0).split(given["batch_size"])
        self.numbers = (number for number in range(len(self.indices)) if not kept(given, side, number).exists())

    def __call__(self, attack: Callable[[Tensor, Tensor, int], Tensor]) -> None:
        number = next(self.numbers)
        seed = number * self.given["batch_size"]
        held = attack(*self.images.subset(self.indices[number]), seed)
        torch.save(held.cpu(), kept(self.given, self.side, number))


def directly(stack: ExitStack, given: Given) -> Callable[[], None]:
    """pyautoattack as its documentation has it."""
    rounds = Rounds(given, "plain")
    model = robust_model(given["name"], rounds.data, Path(given["runs"])).eval().to(DEVICE)
    eps = THREATS[given["name"]].radius

    def attack(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        library = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, seed=seed, version="standard", device=DEVICE)
        _, predictions = library.run_standard_evaluation(images, labels, batch_size=len(images))
        return predictions == labels

    return lambda: rounds(attack)


def ours(stack: ExitStack, given: Given) -> Callable[[], None]:
    """The engine of `toughen evaluate`."""
    rounds = Rounds(given, "ours")
    model = robust_model(given["name"], rounds.data, Path(given["runs"]))
    judged = stack.enter_context(frozen(model, DEVICE))
    attacks = in_precision((PlannedAttack("autoattack", AutoAttack(10)),), search_of(given, judged, rounds.images))
    stack.enter_context(memory_kept())

    def attack(images: Tensor, labels: Tensor, seed: int) -> Tensor:
        clean = judge_clean(judged, Batch(images, labels, torch.arange(len(images))), DEVICE)
        return judge(judged, clean, attacks[0], THREATS[given["name"]], seed=seed).held

    return lambda: rounds(attack)


def search_of(given: Given, model: nn.Module, images: ImageSet) -> Any:
    """What `--precision` means for this model."""
    few = images.subset(torch.arange(2))[0].to(DEVICE)
    return choose_search(given["precision"], DEVICE, THREATS[given["name"]], lambda: forward_flops(model, few, 10))


def kept(given: Given, side: str, number: int) -> Path:
    """Verdicts of a batch; its seconds lie beside it."""
    return Path(given["folder"]) / f"{side}-{number}.pt"


def _data(given: Given) -> DataSource:
    return source(given["name"], given["cifar10"])


def compare(given: Given, model: nn.Module, data: DataSource, threads: int) -> tuple[dict[str, Any], list[Figure]]:
    """Both sides on all images."""
    clock, sides = clock_for(threads), {"plain": directly, "ours": ours}
    count = -(-given["images"] // given["batch_size"])
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(build, given, threads=threads, clock=clock))
            for name, build in sides.items()
        }
        for number in range(count):
            for name in list(sides)[:: -1 if number % 2 else 1]:
                file = kept(given, name, number)
                if not file.exists():
                    took = workers[name].seconds()
                    file.with_suffix(".txt").write_text(str(took))
                    print(f"{name} batch {number + 1}/{count}: {took:.0f} s", file=sys.stderr, flush=True)
    files = {name: [kept(given, name, number) for number in range(count)] for name in sides}
    plain, fast = (Timing.of([float(each.with_suffix(".txt").read_text()) for each in files[name]]) for name in sides)
    held = {name: torch.cat([torch.load(each) for each in files[name]]) for name in sides}
    same, n = int((held["plain"] == held["ours"]).sum()), given["images"]
    times, spread = ratio(plain, fast)
    row = {
        "model": given["name"],
        "precision": search_of(given, model, data.load("test")),
        "n": n,
        "clock": clock,
        "plain": plain.data(),
        "ours": fast.data(),
        "agreement": same / n,
        "interval": wilson(same, n),
        "held_only_directly": int((held["plain"] & ~held["ours"]).sum()),
        "held_only_in_ours": int((~held["plain"] & held["ours"]).sum()),
        "robust_accuracy": {name: float(each.float().mean()) for name, each in held.items()},
    }
    points = 100 * abs(float(held["plain"].float().mean() - held["ours"].float().mean()))
    return row, [
        Figure(f"evaluation {given['name']}", times, 3.0 if row["precision"] == "bf16" else 2.0, spread),
        Figure(f"evaluation {given['name']} verdicts", 100 * same / n, 99.9, unit="%"),
        Figure(f"evaluation {given['name']} accuracy apart", points, 0.1, at_most=True, unit=" points"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder of CIFAR-10 in Parquet files; default Fashion-MNIST")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch_size", type=int, default=250)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--runs", default="runs/benchmarks", help="where the trained models are kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.batch_size = 100, 50
    name = "cifar10" if arguments.cifar10 else "fashion-mnist"
    torch.set_num_threads(arguments.threads)
    data = source(name, arguments.cifar10)
    model = robust_model(name, data, Path(arguments.runs)).to(DEVICE)
    folder = Path(arguments.runs) / f"evaluation-{name}-{arguments.images}-{arguments.batch_size}"
    folder.mkdir(parents=True, exist_ok=True)
    given = {**vars(arguments), "name": name, "folder": str(folder)}
    row, figures = compare(given, model, data, arguments.threads)
    script = Path(__file__).name if name == "fashion-mnist" else f"{Path(__file__).stem}-{name}.py"
    told = {key: value for key, value in vars(arguments).items() if key != "runs"}
    finish(script, {**told, "cifar10": bool(arguments.cifar10)}, [row], figures)


if __name__ == "__main__":
    main()
