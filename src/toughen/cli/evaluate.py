"""Attack a model and say on how many images it holds, with intervals."""

from typing import TYPE_CHECKING

from toughen.cli.console import say
from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal

if TYPE_CHECKING:
    from toughen.evaluation import Evaluation

EXAMPLES = """examples:
  toughen evaluate runs/digits-smallcnn-trades --budget quick
  toughen evaluate runs/arr --threat.eps 16/255
  toughen evaluate runs/arr --budget fast --width 0.5
  toughen evaluate --model resnet18 --weights w.safetensors --data cifar10
  toughen evaluate runs/arr --budget quick --require 'robust >= 0.45'
  toughen evaluate runs/arr --budget thorough --transfer runs/trades,runs/mart
  toughen evaluate runs/arr --analyses EpsCurve --analyses.EpsCurve.points 17
  toughen evaluate runs/arr --shard 2/3
  torchrun --nproc_per_node 8 --no-python toughen evaluate runs/arr

Exit status: 0; 1 where a requirement is not met; 2 where nothing was evaluated.
"""
GROUPS = {
    "what is evaluated": ("run", "model", "weights", "normalize", "data"),
    "how it is attacked": ("threat", "budget", "transfer", "seed", "batch_size", "precision", "eot", "checks"),
    "the audit of budget fast": ("width", "audit", "on_doubt"),
    "on which images": ("test_images", "sample"),
    "what else is studied": ("analyses",),
    "what must come of it": ("require",),
    "the work": ("device", "shard", "time_limit", "trust"),
    "the result": ("out", "overwrite"),
}


IN_PYTHON = ("images", "labels", "eps", "norm", "attacks", "keep_adversarial", "progress")
"""What only a caller from Python has: a network and images in hand, and attacks of its own."""


def parser() -> Parser:
    """The command line of `commands.evaluate`."""
    from toughen.commands.evaluate import evaluate

    return Parser(evaluate, "run", EXAMPLES, skip=IN_PYTHON, groups=GROUPS)


def run(arguments: list[str]) -> int:
    """Parse, evaluate with a progress bar, print the result."""
    from toughen.hardware.processes import Processes
    from toughen.reports.progress import EvaluationProgress

    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    if request.settings["run"] and _asks_for_eps_alone(arguments):
        request = command.parse([*arguments, "--threat.norm", _norm_of(request.settings["run"])])
        assert request is not None
    # Of several processes only the first one speaks.
    first = Processes.from_environment().first
    try:
        with EvaluationProgress(Terminal(quiet=not first)) as progress:
            evaluation = command.function(**request.settings, progress=progress)
    except KeyboardInterrupt:
        say("toughen: stopped; the same command goes on from here", error=True)
        return 130
    if not first:
        return 0
    status = report(evaluation)
    if request.settings["shard"]:
        say(f"shard {request.settings['shard']} is done; when all are: toughen merge FOLDER...")
    return status


def report(evaluation: "Evaluation") -> int:
    """Print a result; the exit status is 1 where it does not meet what was required, else 0."""
    from toughen.reports.terminal import show_result

    if evaluation.reused:
        say("already evaluated: this is the result that was there (--overwrite computes it again)")
    console = Terminal()
    show_result(evaluation.result, console)
    if evaluation.report is not None:
        console.print(f"report: {evaluation.report}", soft_wrap=True)
    if evaluation.requirement is None:
        return 0
    if evaluation.requirement.met:
        say(f"requirement met: {evaluation.requirement.reason}")
        return 0
    say(f"toughen: requirement not met: {evaluation.requirement.reason}", error=True)
    return 1


def _asks_for_eps_alone(arguments: list[str]) -> bool:
    """Whether another radius is asked for, and nothing said of the norm, which then is the run's."""
    options = {argument.partition("=")[0] for argument in arguments}
    return "--threat.eps" in options and options.isdisjoint({"--threat", "--threat.norm", "--config"})


def _norm_of(run: str) -> str:
    """The norm that a run was trained for; l-inf where it does not say."""
    from toughen.run.hub import run_folder

    return str((run_folder(run).read_config().get("threat") or {}).get("norm", "linf"))
