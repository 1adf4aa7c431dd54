"""Train a classifier, attack it, and write its report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal
from toughen.errors import InputError
from toughen.settings.signature import settings_of

EXAMPLES = """examples:
  toughen train
  toughen train --data cifar10 --model resnet18 --method.beta 6 --threat.eps 8/255
  toughen train --data photos --data.size 64 --model timm:resnet18.a1_in1k
  toughen train --method ARR --method.attack FGSM --out runs/arr
  toughen train --config my.yaml --seed 1
  toughen train --method my_package.MyMethod --method.strength 2
  toughen train --seeds 0,1,2
  toughen train --resume runs/arr
  toughen train --config my.yaml --out runs/arr --resume auto
  torchrun --nproc_per_node 8 --no-python toughen train --data cifar10
"""
GROUPS = {
    "what is trained": ("data", "model", "init", "method", "threat"),
    "how it is trained": (
        "epochs", "batch_size", "optimizer", "decay_all", "layer_decay", "body_rate", "freeze", "schedule", "average",
        "clip_grad_norm", "accumulate", "augment", "label_smoothing", "class_weight", "cutmix", "awp", "train_images",
        "extra", "attack_steps", "image_size", "attack_eps", "normalize",
    ),
    "which weights are reported": ("val_images", "select"),
    "final evaluation": ("budget", "before", "test_images", "sample"),
    "the run": (
        "out", "overwrite", "resume", "trust", "seed", "seeds", "checkpoint_every", "log_every", "guards", "trackers",
        "trace",
    ),
    "the machine": ("device", "precision", "fast", "compile", "channels_last", "sync_batchnorm", "workers"),
}  # fmt: skip

PARTS = ("data", "model", "method")
"""What a run is called after, where it is given no other name."""


def parser() -> Parser:
    """The command line of `commands.train`, with the seeds of several runs."""
    from toughen.commands.seeds import train_seeds
    from toughen.commands.train import train

    one = Parser(train, examples=EXAMPLES, skip=["observer", "progress"], groups=GROUPS)
    one.settings["seeds"] = replace(settings_of(train_seeds)["seeds"], default=None)
    return one


def with_training(made: Parser, title: str, own: Sequence[str], aside: Sequence[str]) -> Parser:
    """The command line of a command that makes several trainings, with the settings that all of them share.

    Args:
        made: that of the command itself.
        title: of its own settings in the help.
        own: their names.
        aside: settings of a training that are none of all of them.
    """
    from toughen.commands.train import train

    shared = {name: each for name, each in settings_of(train).items() if name not in (*aside, *own)}
    made.settings |= shared
    groups = {heading: [name for name in names if name in shared] for heading, names in GROUPS.items()}
    made.groups = {title: own, **groups}
    return made


def run(arguments: list[str]) -> int:
    """Parse, train with a progress bar, print the result."""
    from toughen.commands.seeds import each_seed

    request = parser().parse(arguments)
    if request is None:
        return 0
    settings = request.settings
    seeds = settings.pop("seeds")
    if settings["resume"] not in (None, "auto"):
        _check_resume(request.asked)
        settings = {name: value for name, value in settings.items() if name in request.asked}
    runs = [{}] if seeds is None else each_seed(seeds, settings)
    for own in runs:
        status = _train({**settings, **own})
        if status:
            return status
    if seeds is not None:
        say(f"compare: toughen compare {' '.join(own['out'] for own in runs)}")
    return 0


def _train(settings: dict[str, Any]) -> int:
    """One run, with a progress bar and its result; the exit status."""
    from toughen.commands.train import train
    from toughen.hardware.processes import Processes
    from toughen.reports.progress import EvaluationProgress, TrainingProgress
    from toughen.reports.terminal import show_result
    from toughen.run import RunFolder
    from toughen.settings.description import default_name
    from toughen.settings.trust import trust_option
    from toughen.training import Interrupted, read_rows
    from toughen.training.cost import in_words

    # Of several processes only the first one speaks.
    first = Processes.from_environment().first
    console = Terminal(quiet=not first)
    try:
        with EvaluationProgress(console) as progress:
            trained = train(**settings, observer=TrainingProgress(console), progress=progress)
    except Interrupted as stopped:
        if first:
            say(f"toughen: {stopped}", error=True)
        return 130
    except KeyboardInterrupt:
        # In the final evaluation: the loop itself saves the run and raises Interrupted.
        resumed = None if settings["resume"] == "auto" else settings["resume"]
        folder = RunFolder(resumed or settings["out"] or f"runs/{default_name(*map(settings.get, PARTS))}")
        command = f"toughen train --resume {folder.path}"
        hint = f"; go on with: {command}{trust_option(folder.read_config())}" if folder.checkpoint.exists() else ""
        say(f"toughen: stopped{hint}", error=True)
        return 130
    if trained.evaluation is not None:
        show_result(trained.evaluation.result, console)
        console.print(f"report: {trained.folder.report}", soft_wrap=True)
    console.print(f"cost:   {in_words(read_rows(trained.folder.metrics))}", soft_wrap=True, highlight=False)
    console.print(f"run:    {trained.folder.path}", soft_wrap=True)
    return 0


def _check_resume(asked: frozenset[str]) -> None:
    # A class may be named, whose code is then trusted; it must be the run's own.
    others = sorted(f"--{name}" for name in asked - {"resume", "device", "epochs", "trust", *PARTS, "optimizer"})
    if others:
        raise InputError(
            f"--resume goes on with the run's own settings, but {', '.join(others)} came with it; leave "
            "it out, or start another run without --resume"
        )
