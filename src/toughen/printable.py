"""Texts from anywhere, as a terminal, a page or a table may show them."""

import re

_OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal does not show but does: control characters but tab and line feed, the directions of text, line and
paragraph separators; and halves of characters, which cannot be written."""


def visible(text: str) -> str:
    r"""The text with what a terminal would obey written out.

    >>> print(visible("caf\xe9 \x1b[2J \u202e"))
    café \x1b[2J \u202e
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    r"""As `visible`, with line breaks and tabs written out too.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return visible(text).replace("\n", r"\n").replace("\t", r"\t")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a class: one line, and nothing in it that a terminal obeys."""
    return one_line(text) == text
