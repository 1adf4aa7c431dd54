"""A grid of settings as tables: one setting down, one across, and a table for each combination of the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from toughen.search.records import TrialRecord
from toughen.search.space import Values

MOST = 8
"""Tables that are shown at most: a larger grid says more in the list of its trials."""


@dataclass(frozen=True)
class GridTable:
    """Robust accuracy on held-out images of the trials that agree in all settings but two.

    Attributes:
        down: the setting of the rows.
        across: the setting of the columns.
        others: values of the others, the same for the whole table.
        columns: values across.
        rows: a value down with the accuracy for each value across; None where that trial did not end well.
    """

    down: str
    across: str
    others: Values
    columns: Sequence[object]
    rows: Sequence[tuple[object, Sequence[float | None]]]

    @property
    def best(self) -> float | None:
        """The highest accuracy."""
        return max((cell for _, row in self.rows for cell in row if cell is not None), default=None)


def grid_tables(trials: Sequence[TrialRecord]) -> list[GridTable]:
    """Tables of a grid's trials, the two settings with the most values down and across; none for fewer settings.

    >>> pairs = [(a, b) for a in ("kl", "js") for b in ("kl", "mse")]
    >>> found = [TrialRecord(n, "complete", {"clean": a, "adv": b}, 0.9, n / 10) for n, (a, b) in enumerate(pairs)]
    >>> grid_tables(found)[0].rows
    [('kl', [0.0, 0.1]), ('js', [0.2, 0.3])]
    """
    settings = {
        name: list(dict.fromkeys(each.values[name] for each in trials if name in each.values))
        for name in dict.fromkeys(name for each in trials for name in each.values)
    }
    varying = sorted((name for name in settings if len(settings[name]) > 1), key=lambda name: -len(settings[name]))
    if len(varying) < 2:
        return []
    down, across = varying[:2]
    robust = {tuple(each.values.get(name) for name in settings): each.robust for each in trials}
    rest = {tuple((n, each.values.get(n)) for n in settings if n not in (down, across)) for each in trials}
    tables = []
    for others in sorted(rest, key=str):
        fixed = dict(others)
        cells = [
            (
                row,
                [
                    robust.get(tuple({**fixed, down: row, across: each}.get(n) for n in settings))
                    for each in settings[across]
                ],
            )
            for row in settings[down]
        ]
        shown = {name: value for name, value in fixed.items() if name in varying}
        tables.append(GridTable(down, across, shown, settings[across], cells))
    return tables if len(tables) <= MOST else []
