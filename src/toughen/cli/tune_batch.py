"""Find the largest batch that a training step can take here."""

import shlex
from typing import TYPE_CHECKING

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.cli.train import GROUPS as OF_TRAIN
from toughen.settings.given import BARE, split
from toughen.settings.signature import settings_of

if TYPE_CHECKING:
    from toughen.commands.tune_batch import Tuned
    from toughen.hardware.memory import Trial

EXAMPLES = """examples:
  toughen tune-batch
  toughen tune-batch --config cifar10-resnet18-fast
  toughen tune-batch --data cifar10 --model wide_resnet --method ARR --memory 40
"""
OWN = ("up_to", "memory")


def parser() -> Parser:
    """The command line of `commands.tune_batch`, with the settings of a training."""
    from toughen.commands.train import DEFAULTS, train
    from toughen.commands.tune_batch import tune_batch

    of_train = {title: [name for name in names if name in DEFAULTS] for title, names in OF_TRAIN.items()}
    both = Parser(tune_batch, examples=EXAMPLES, skip=["tried"], groups={"the search": OWN, **of_train})
    both.name = "tune-batch"
    both.settings |= {name: setting for name, setting in settings_of(train).items() if name in DEFAULTS}
    return both


def run(arguments: list[str]) -> int:
    """Parse, search with a line a size, print the command to use."""
    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    say(f"{'batch':>8}{'memory':>12}{'images/s':>12}")
    found = command.function(**request.settings, tried=_show)
    say(_conclusion(found))
    say(f"use: {_command(arguments, found.batch_size)}")
    return 0


def _show(trial: "Trial") -> None:
    memory = f"{trial.memory / 1e9:.2f} GB"
    speed = "does not fit" if trial.images_per_second is None else f"{trial.images_per_second:,.0f}"
    say(f"{trial.batch_size:>8,}{memory:>12}{speed:>{12 if trial.fits else 14}}")


def _conclusion(found: "Tuned") -> str:
    largest = next(trial for trial in found.trials if trial.batch_size == found.batch_size)
    fastest = max((trial for trial in found.trials if trial.fits), key=lambda trial: trial.images_per_second or 0)
    why = {"memory": "largest that fits", "data": "takes all training images", "up_to": "largest asked for; it fits"}
    return (
        f"{found.batch_size:,} images a step: {why[found.limit]} ({largest.memory / 1e9:.2f} GB, "
        f"{largest.images_per_second:,.0f} images/s); fastest: {fastest.batch_size:,} "
        f"({fastest.images_per_second:,.0f} images/s)"
    )


def _command(arguments: list[str], batch_size: int) -> str:
    """The call of `toughen train` with the same settings and this batch."""
    kept = [(name, value) for name, value in split(arguments)[1] if name not in (*OWN, "batch_size")]
    words = [word for name, value in kept for word in (f"--{name}", *([] if value is BARE else [value]))]
    return shlex.join(["toughen", "train", *words, "--batch_size", str(batch_size)])
