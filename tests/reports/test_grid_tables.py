"""A grid's tables against a plain search through its trials."""

from itertools import product
from pathlib import Path

import numpy as np
from html_page import Page, check_self_contained

from toughen.reports.grid_tables import MOST, grid_tables
from toughen.reports.sweep_page import write_sweep
from toughen.search.records import SweepRecord, TrialRecord

FUNCTIONS, OTHERS = ["kl", "js", "mse"], [0.1, 0.2]


def trials(*, failed: int = 4) -> list[TrialRecord]:
    """Three settings that vary and one that does not, in a random order; one trial has no figures."""
    drawn = np.random.default_rng(0)
    values = [
        {"fixed": 1, "own": own, "first": first, "lr": lr}
        for own, first, lr in product([True, False], FUNCTIONS, OTHERS)
    ]
    drawn.shuffle(values)
    return [
        TrialRecord(n, "failed", each)
        if n == failed
        else TrialRecord(n, "complete", each, 0.9, float(round(drawn.random(), 4)))
        for n, each in enumerate(values)
    ]


def test_each_trial_has_its_cell():
    found = trials()
    tables = grid_tables(found)
    assert {table.down for table in tables} == {"first"}
    assert len(tables) == 2
    seen = 0
    for table in tables:
        for down, row in table.rows:
            for across, cell in zip(table.columns, row, strict=True):
                own = {**table.others, "fixed": 1, table.down: down, table.across: across}
                (trial,) = [each for each in found if each.values == own]
                assert cell == trial.robust
                seen += 1
        assert table.best == max(cell for _, row in table.rows for cell in row if cell is not None)
    assert seen == len(found) == 12


def test_one_setting_has_no_table_and_a_grid_of_many_has_none():
    assert grid_tables([TrialRecord(n, "complete", {"lr": n, "fixed": 1}, 0.9, 0.5) for n in range(3)]) == []
    many = [{"a": a, "b": b, "c": c} for a, b, c in product(range(MOST + 2), range(MOST + 1), range(MOST + 1))]
    assert grid_tables([TrialRecord(n, "complete", each, 0.9, 0.5) for n, each in enumerate(many)]) == []


def test_the_page_of_a_grid_shows_them(tmp_path: Path):
    found = trials()

    def page_of(search: str) -> str:
        page = write_sweep(SweepRecord(tmp_path, search, 12, tuple(found), (), {}))
        check_self_contained(page.read_text())
        return page.read_text()

    _, _, section = page_of("grid").partition('<section id="grid"')
    cells = Page(f"<section{section.partition('</section>')[0]}</section>").cells
    shown = [cell for table in grid_tables(found) for _, row in table.rows for cell in row]
    assert [cell for cell in cells if cell.endswith("%")] == [
        f"{100 * each:.1f} %" for each in shown if each is not None
    ]
    assert 'id="grid"' not in page_of("tpe")
