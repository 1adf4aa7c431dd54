"""Name the methods, models, data sources and recipes that there are.

toughen list            all of them
toughen list methods    only one kind
"""

from rich.console import Console
from rich.table import Table

from toughen import catalog
from toughen.errors import InputError, did_you_mean

KINDS = ("methods", "models", "data", "attacks", "schedules", "averages", "recipes")


def run(arguments: list[str]) -> int:
    """Print one line for everything that can be named."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"usage: toughen list [{'|'.join(KINDS)}]\n\n{__doc__}")
        return 0
    for kind in arguments:
        if kind not in KINDS:
            raise InputError(f"toughen list: unknown kind {kind!r}; {did_you_mean(kind, KINDS)}")
    console = Console(highlight=False)
    for kind in arguments or KINDS:
        entries = catalog.recipes() if kind == "recipes" else catalog.classes(kind)
        if not entries:
            continue
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, title=kind, title_justify="left")
        table.add_column(no_wrap=True, style="bold")
        table.add_column(overflow="fold")
        for entry in entries.values():
            table.add_row(f"  {entry.name}", entry.summary)
        console.print(table)
        console.print()
    console.print("Names ignore case and underscores (--model resnet18); your own class works by its import path.")
    return 0
