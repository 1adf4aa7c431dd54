"""Write a network to a file for others, checked in its own runtime."""

from toughen.cli.console import say
from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen export runs/digits-smallcnn-trades
  toughen export runs/arr --format torch-export --out robust.pt2
  toughen export runs/arr --format safetensors
"""


def parser() -> Parser:
    """The command line of `commands.export`."""
    from toughen.commands.export import export

    return Parser(export, "run", EXAMPLES)


def run(arguments: list[str]) -> int:
    """Parse, export, say how the file agrees with the network."""
    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    exported = command.function(**request.settings)
    say(f"checked: {exported.agreement}")
    say(f"file:    {exported.path}")
    return 0
