"""Rank runs by robust accuracy, with a paired test against the best."""

from toughen.cli.console import Terminal
from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen compare runs/*
  toughen compare runs/trades runs/arr --out comparison.html
"""


def run(arguments: list[str]) -> int:
    """Parse, compare, print the table."""
    from toughen.commands.compare import compare
    from toughen.reports.terminal import show_comparison

    request = Parser(compare, "runs", EXAMPLES).parse(arguments)
    if request is None:
        return 0
    console = Terminal()
    comparison = compare(**request.settings)
    show_comparison(comparison, console)
    console.print(f"report: {comparison.page}", soft_wrap=True)
    return 0
