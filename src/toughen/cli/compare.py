"""Rank runs by robust accuracy, with a paired test against the best."""

from toughen.cli.console import Terminal
from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen compare runs/*
  toughen compare runs/trades runs/arr --out comparison.html
  toughen compare runs/trades runs/arr runs/mart --transfer
"""


def run(arguments: list[str]) -> int:
    """Parse, compare, print the table."""
    from toughen.commands.compare import compare
    from toughen.reports.terminal_comparison import show_comparison

    request = Parser(compare, "runs", EXAMPLES, skip=["progress"]).parse(arguments)
    if request is None:
        return 0
    console = Terminal()
    with console.status("comparing") as status:
        comparison = compare(**request.settings, progress=lambda name: status.update(f"crafting images on {name}"))
    show_comparison(comparison, console)
    console.print(f"report: {comparison.page}", soft_wrap=True)
    return 0
