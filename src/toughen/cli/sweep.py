"""Search settings with several workers, and report which are best."""

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal
from toughen.cli.train import with_training

EXAMPLES = """examples:
  toughen sweep sweep.yaml
  toughen sweep sweep.yaml --trials 40 --out runs/my-sweep
  toughen sweep sweep.yaml --search grid --epochs 10
  toughen sweep sweep.yaml --storage postgresql://user@host/sweeps
"""
SEARCH = ("vary", "search", "trials", "prune", "storage", "out", "trust")
_OF_A_RUN = ("overwrite", "resume", "observer", "progress")


def parser() -> Parser:
    """The command line of `commands.sweep`, with the settings that all trials share."""
    from toughen.commands.sweep import sweep

    made = Parser(sweep, examples=EXAMPLES, skip=["observer", "progress", "said"], takes_file=True)
    return with_training(made, "the search", SEARCH, _OF_A_RUN)


def run(arguments: list[str]) -> int:
    """Parse, run trials with progress bars until none is left, print the best."""
    from toughen.reports.progress import EvaluationProgress, TrainingProgress
    from toughen.reports.terminal import show_result
    from toughen.training import Interrupted

    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    console = Terminal()
    try:
        with EvaluationProgress(console) as progress:
            found = command.function(
                **request.settings, observer=TrainingProgress(console), progress=progress, said=say
            )
    except Interrupted as stopped:
        say(f"toughen: {stopped}", error=True)
        return 130
    for number, evaluation in found.evaluations.items():
        say(f"trial {number} on test images:")
        show_result(evaluation.result, console)
    say(found.record.counts())
    if found.record.command:
        say(f"train the best anew: {found.record.command}")
    say(f"report: {found.page}")
    return 0
