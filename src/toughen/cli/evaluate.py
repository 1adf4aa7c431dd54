"""Attack a model on test images, and say on how many it holds, with intervals."""

from rich.console import Console

from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen evaluate runs/digits-smallcnn-trades --budget quick --overwrite
  toughen evaluate runs/arr --threat.eps 16/255 --out runs/arr-at-16
  toughen evaluate --model resnet18 --weights model.safetensors --data cifar10 --test_images 1000
  toughen evaluate --model timm --model.name resnet50 --weights w.safetensors --data imagefolder --data.path photos
"""


def run(arguments: list[str]) -> int:
    """Parse, evaluate with a progress bar, print the result."""
    from toughen.commands.evaluate import evaluate
    from toughen.reports.progress import EvaluationProgress
    from toughen.reports.terminal import show_result

    settings = Parser(evaluate, positional="run", examples=EXAMPLES, skip=["progress"]).parse(arguments)
    console = Console()
    with EvaluationProgress(console) as progress:
        evaluation = evaluate(**settings, progress=progress)
    show_result(evaluation.result, console)
    return 0
