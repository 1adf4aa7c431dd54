"""Train a classifier, evaluate it with real attacks and write its report."""

from rich.console import Console

from toughen.cli.parser import Parser
from toughen.errors import InputError

EXAMPLES = """examples:
  toughen train
  toughen train --data cifar10 --model resnet18 --method TRADES --method.beta 6 --threat.eps 8/255 --epochs 30
  toughen train --method ARR --method.attack FGSM --out runs/arr
  toughen train --config my.yaml --seed 1
  toughen train --method my_package.MyMethod --method.strength 2
  toughen train --resume runs/arr
  toughen train --method.help TRADES        the settings of one class
"""


def run(arguments: list[str]) -> int:
    """Parse, train with a progress bar, print the result."""
    from toughen.commands.train import train
    from toughen.reports.progress import EvaluationProgress, TrainingProgress
    from toughen.reports.terminal import show_result

    parser = Parser(train, examples=EXAMPLES, skip=["observer", "progress"])
    settings = parser.parse(arguments)
    if settings.get("resume") and any(
        word.startswith("--") and word.partition("=")[0] not in ("--resume", "--device") for word in arguments
    ):
        raise InputError("--resume goes on with the run's own settings; drop the other options, or start a new run")
    console = Console()
    with EvaluationProgress(console) as progress:
        trained = train(**settings, observer=TrainingProgress(console), progress=progress)
    if trained.evaluation is not None:
        show_result(trained.evaluation.result, console)
        console.print(f"report: {trained.folder.report}")
    console.print(f"run:    {trained.folder.path}", soft_wrap=True)
    return 0
