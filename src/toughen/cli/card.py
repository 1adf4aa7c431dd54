"""Print a run's model card, or write it to a file."""

from toughen.cli.console import say
from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen card runs/arr
  toughen card runs/arr --license apache-2.0 --out README.md
"""


def parser() -> Parser:
    """The command line of `commands.card`."""
    from toughen.commands.card import card

    return Parser(card, "run", EXAMPLES)


def run(arguments: list[str]) -> int:
    """Parse, print the card or the name of its file."""
    command = parser()
    request = command.parse(arguments)
    if request is not None:
        text = command.function(**request.settings)
        say(f"card: {request.settings['out']}" if request.settings["out"] else text.rstrip())
    return 0
