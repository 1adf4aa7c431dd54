"""The methods' cards in docs/methods are those of the methods' docstrings and settings."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_cards_are_those_of_the_methods() -> None:
    wanted = runpy.run_path(str(DOCS / "make_cards.py"))["pages"]()
    found = {path.name: path.read_text() for path in (DOCS / "methods").glob("*.md")}
    assert found == wanted, "run `make docs`"
