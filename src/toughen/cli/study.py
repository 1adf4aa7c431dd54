"""Compare methods over data sets and seeds, on one page."""

import shlex
from pathlib import Path

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal
from toughen.cli.train import with_training
from toughen.settings.given import split

EXAMPLES = """examples:
  toughen study study.yaml
  toughen study cpu-digits --out runs/digits
  toughen study gpu-cifar10 --only TRADES --seed 0
  toughen list studies
"""
STUDY = ("rows", "data", "seeds", "budget", "confirm", "unequal", "claims", "only", "seed", "out", "trust")
_OF_A_RUN = ("overwrite", "resume", "observer", "progress", "method")


def parser() -> Parser:
    """The command line of `commands.study`, with the settings that all runs share."""
    from toughen.commands.study import study

    made = Parser(study, examples=EXAMPLES, skip=["observer", "progress", "said", "command"], takes_file=True)
    return with_training(made, "the study", STUDY, _OF_A_RUN)


def run(arguments: list[str]) -> int:
    """Parse, work with progress bars until nothing is left, print the answers."""
    from toughen.reports.progress import EvaluationProgress, TrainingProgress
    from toughen.reports.terminal_study import show_study
    from toughen.training import Interrupted

    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    files = split(arguments, ["unequal"])[0]
    settings = dict(request.settings)
    if settings["out"] is None:
        settings["out"] = f"runs/{Path(files[0]).stem if files else 'study'}"
    said = shlex.join(["toughen", "study", *files, "--out", settings["out"]])
    console = Terminal()
    try:
        with EvaluationProgress(console) as progress:
            found = command.function(
                **settings, command=said, observer=TrainingProgress(console), progress=progress, said=say
            )
    except Interrupted as stopped:
        say(f"toughen: {stopped}", error=True)
        return 130
    show_study(found.record, console)
    say(f"results: {found.results}")
    say(f"report: {found.page}")
    return 0
