"""Rank runs by robust accuracy, with a paired test of each against the best."""

from rich.console import Console

from toughen.cli.parser import Parser

EXAMPLES = """examples:
  toughen compare runs/*
  toughen compare runs/trades runs/arr --out comparison.html
"""


def run(arguments: list[str]) -> int:
    """Parse, compare, print the table."""
    from toughen.commands.compare import compare
    from toughen.reports.terminal import show_comparison

    console = Console()
    comparison = compare(**Parser(compare, positional="runs", examples=EXAMPLES).parse(arguments))
    show_comparison(comparison, console)
    console.print(f"report: {comparison.page}", soft_wrap=True)
    return 0
