"""Name the methods, models, data, analyses, recipes and studies.

usage: toughen list [KIND ...]

Kinds: methods, models, data, attacks, optimizers, schedules, averages,
analyses, recipes, studies; all of them where none is given. Each line says a
name and what it is. On the command line, names ignore case and underscores.

examples:
  toughen list
  toughen list methods recipes
"""

import shutil
import sys
import textwrap
from collections.abc import Iterable

from toughen import catalog
from toughen.cli.console import say
from toughen.errors import InputError, did_you_mean

SHIPPED = {"recipes": catalog.recipes, "studies": catalog.studies}
KINDS = (*catalog.KINDS, *SHIPPED)


def run(arguments: list[str]) -> int:
    """Print one line for everything that can be named."""
    if {"-h", "--help"} & set(arguments):
        say((__doc__ or "").rstrip())
        return 0
    for kind in arguments:
        if kind not in KINDS:
            raise InputError(f"list: unknown kind {kind!r}; {did_you_mean(kind, KINDS)}")
    kinds = list(dict.fromkeys(arguments)) or KINDS
    say("\n\n".join(_listed(kind) for kind in kinds))
    if not arguments:
        say("\nNames ignore case and underscores (--model resnet18). A class of your own goes by its import path.")
    return 0


def _listed(kind: str) -> str:
    entries = SHIPPED[kind]() if kind in SHIPPED else catalog.classes(kind)
    if not entries:
        return f"{kind}\n  none yet"
    return "\n".join([kind, *_columns(entries.values())])


def _columns(entries: Iterable[catalog.Entry]) -> Iterable[str]:
    """Names and summaries in two columns, wrapped to a terminal's width; elsewhere one line each, for grep."""
    entries = list(entries)
    left = max(len(entry.name) for entry in entries) + 4
    for entry in entries:
        head = f"  {entry.name}".ljust(left)
        if sys.stdout.isatty():
            width = max(shutil.get_terminal_size().columns, left + 20)
            yield textwrap.fill(f"{head}{entry.summary}", width, subsequent_indent=" " * left, break_on_hyphens=False)
        else:
            yield f"{head}{entry.summary}"
