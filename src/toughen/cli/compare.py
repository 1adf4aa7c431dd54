"""Rank runs by robust accuracy, with a paired test against the best."""

from rich.text import Text

from toughen.cli.parser import Parser
from toughen.cli.terminal import Terminal

EXAMPLES = """examples:
  toughen compare runs/*
  toughen compare runs/trades runs/arr --out comparison.html
  toughen compare runs/trades runs/arr runs/mart --transfer
"""


def parser() -> Parser:
    """The command line of `commands.compare`."""
    from toughen.commands.compare import compare

    return Parser(compare, "runs", EXAMPLES, skip=["progress"])


def run(arguments: list[str]) -> int:
    """Parse, compare, print the table."""
    from toughen.reports.terminal_comparison import show_comparison

    command = parser()
    request = command.parse(arguments)
    if request is None:
        return 0
    console = Terminal()
    with console.status("comparing") as status:
        progress = {"progress": lambda name: status.update(Text(f"crafting images on {name}"))}
        comparison = command.function(**request.settings, **progress)
    show_comparison(comparison, console)
    console.print(f"report: {comparison.page}", soft_wrap=True)
    return 0
