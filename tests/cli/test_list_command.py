"""`toughen list`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toughen import catalog
from toughen.cli.list import KINDS, SHIPPED

Toughen = Callable[..., Any]


def test_everything_has_a_line(toughen: Toughen) -> None:
    answer = toughen("list")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for kind in KINDS:
        assert kind in lines
        entries = SHIPPED[kind]() if kind in SHIPPED else catalog.classes(kind)
        for entry in entries.values():
            assert any(line.split(maxsplit=1) == [entry.name, entry.summary] for line in lines), entry.name


def test_names_are_in_the_alphabets_order(toughen: Toughen) -> None:
    names = [line.split()[0].lower() for line in toughen("list", "models").out.splitlines()[1:]]
    assert names == sorted(names)
    assert names[0] == "preactresnet18"


def test_kinds_that_are_asked_for(toughen: Toughen) -> None:
    text = toughen("list", "data", "methods", "data").out
    assert text.startswith("data\n  Arrays ")
    assert text.count("\nmethods\n") == 1
    assert "models" not in text.splitlines()


def test_columns_are_in_line(toughen: Toughen) -> None:
    for block in toughen("list").out.split("\n\n")[:-1]:
        rows = block.splitlines()[1:]
        starts = {len(row) - len(row[2:].partition(" ")[2].lstrip()) for row in rows}
        assert len(starts) == 1, block


def test_a_terminal_gets_wrapped_lines(toughen: Toughen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = toughen("list").out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert any(line.startswith(" " * 10) for line in lines)


def test_recipes_say_their_first_line(toughen: Toughen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("# Three epochs of nothing\n# more\nepochs: 3\n")
    monkeypatch.setattr(catalog, "RECIPES", tmp_path)
    catalog.recipes.cache_clear()
    try:
        assert toughen("list", "recipes").out == "recipes\n  mine  Three epochs of nothing\n"
        assert catalog.find_recipe("MINE") == tmp_path / "mine.yaml"
        (tmp_path / "mine.yaml").unlink()
        catalog.recipes.cache_clear()
        assert toughen("list", "recipes").out == "recipes\n  none yet\n"
    finally:
        catalog.recipes.cache_clear()


def test_help_names_all_kinds(toughen: Toughen) -> None:
    text = toughen("list", "--help").out
    assert ", ".join(KINDS) in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
