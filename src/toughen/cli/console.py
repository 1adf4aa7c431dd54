"""The one place that commands print from. Names of classes, runs and files are shown there and never obeyed."""

import re
import sys

_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal does not show but does: control characters but tab and line feed, the directions of text, line and
paragraph separators; and halves of characters, which cannot be written."""


def visible(text: str) -> str:
    r"""The text with what a terminal would obey written out.

    >>> print(visible("caf\xe9 \x1b[2J \u202e"))
    café \x1b[2J \u202e
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: object, *, end: str = "\n", error: bool = False) -> None:
    """Print a text to standard output, or to standard error."""
    print(visible(str(text)), end=end, file=sys.stderr if error else sys.stdout, flush=True)
