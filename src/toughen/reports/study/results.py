"""What a study says of one data set: its rows under each budget, in their order, with tests, fronts and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toughen.reports.study.against import Tested, tests_of
from toughen.reports.study.figures import Measured, front, measured, ranked, to_confirm
from toughen.reports.study.record import RowRecord, StudyRecord


@dataclass(frozen=True)
class Level:
    """The rows under one budget.

    Attributes:
        budget: its name.
        rows: the most robust first, those whose figure is doubted last.
        best: the row that the others are tested against: the best of the level that says so, where it is among these.
        tested: the tests.
        robust_front: names of the rows that no other one beats in robust accuracy at no more FLOPs.
        clean_front: those that no other one beats in robust accuracy at no less clean accuracy.
    """

    budget: str
    rows: tuple[Measured, ...]
    best: Measured
    tested: Tested
    robust_front: tuple[str, ...]
    clean_front: tuple[str, ...]

    @property
    def protocol(self) -> str:
        """What the figures depend on beside the networks, in one line."""
        known = self.rows[0].runs[0][1].protocol
        return ", ".join(f"{name} {known[name]}" for name in ("data", "test images", "threat", "budget"))


@dataclass(frozen=True)
class DataResult:
    """A data set of a study.

    Attributes:
        name: of the data set.
        records: all rows, whatever there is of them.
        levels: under the first budget, then under the second where rows were confirmed; none where nothing is
            evaluated.
        confirming: the rows that are to be confirmed, by how many of their runs have been.
        confirmed: whether all of their runs have.
    """

    name: str
    records: tuple[RowRecord, ...]
    levels: tuple[Level, ...]
    confirming: Mapping[str, int] = field(default_factory=dict)
    confirmed: bool = False

    @property
    def top(self) -> Level:
        """The level that says which row is best: the second once every row has been confirmed that is to be.

        Before that the row would win that was confirmed first, or that did not fail.
        """
        return self.levels[-1 if self.confirmed else 0]

    def trained(self, row: RowRecord) -> str:
        """How far a row is by the first budget, in words; empty where it is whole."""
        there = {each.name: len(each.runs) for each in self.levels[0].rows} if self.levels else {}
        return row.state(there.get(row.name, 0))

    def state(self, row: RowRecord) -> str:
        """How far a row is, in words; empty where it is whole."""
        said = self.trained(row)
        if said or row.name not in self.confirming:
            return said
        state = row.state(self.confirming[row.name])
        return state and f"second evaluation: {state}"

    @property
    def lacking(self) -> dict[str, str]:
        """What is not there, by row."""
        return {row.name: said for row in self.records if (said := self.state(row))}


def result_of(study: StudyRecord, data: str) -> DataResult:
    """The figures of a study's rows on one data set.

    Raises:
        RunError: a damaged file.
    """
    records, second = study.rows[data], study.confirm
    budgets = [study.budget, *([second.budget] if second else [])]
    found = [(budget, ranked(measured(records, budget))) for budget in budgets]
    if not found[0][1]:
        return DataResult(data, records, ())
    confirming: dict[str, int] = {}
    if second is not None:
        there = {row.name: len(row.runs) for row in found[1][1]}
        confirming = {name: there.get(name, 0) for name in to_confirm(found[0][1], second.best)}
    runs = {row.name: len(row.runs) for row in records}
    confirmed = bool(confirming) and all(there == runs[name] for name, there in confirming.items())
    best = _best(found[-1 if confirmed else 0][1])
    others = max(len(rows) for _, rows in found) - 1  # those that are confirmed were picked among all
    levels = tuple(_level(budget, rows, best, others) for budget, rows in found if rows)
    return DataResult(data, records, levels, confirming, confirmed)


def _best(rows: Sequence[Measured]) -> str:
    """The name of the first row of those with most runs: one lucky seed is not to lead the others."""
    most = max(len(row.runs) for row in rows)
    return next(row.name for row in rows if len(row.runs) == most)


def _level(budget: str, rows: Sequence[Measured], best: str, others: int) -> Level:
    first = next((row for row in rows if row.name == best), rows[0])
    sound = [row for row in rows if not row.masked]
    robust = [row.robust.accuracy for row in sound]
    cheap = [-row.cost.flops if row.cost.flops is not None else -row.cost.seconds for row in sound]
    clean = [row.clean.accuracy for row in sound]
    fronts = [
        tuple(sound[place].name for place in front(list(zip(robust, each, strict=True)))) for each in (cheap, clean)
    ]
    return Level(budget, tuple(rows), first, tests_of(rows, first, others), *fronts)
