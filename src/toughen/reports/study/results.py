"""What a study says of one data set: its rows under each budget, in their order, with tests, fronts and answers."""

from dataclasses import dataclass

from toughen.reports.study.against import Tested, tests_of
from toughen.reports.study.figures import Measured, front, measured, ranked
from toughen.reports.study.record import RowRecord, StudyRecord


@dataclass(frozen=True)
class Level:
    """The rows under one budget.

    Attributes:
        budget: its name.
        rows: the most robust first, those whose figure is doubted last.
        best: the row that the others are tested against: the best of the largest budget.
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
    """

    name: str
    records: tuple[RowRecord, ...]
    levels: tuple[Level, ...]

    def state(self, row: RowRecord) -> str:
        """How far a row is, in words; empty where it is whole."""
        there = {each.name: len(each.runs) for each in self.levels[0].rows} if self.levels else {}
        return row.state(there.get(row.name, 0))

    @property
    def lacking(self) -> dict[str, str]:
        """What is not there, by row."""
        return {row.name: said for row in self.records if (said := self.state(row))}


def result_of(study: StudyRecord, data: str) -> DataResult:
    """The figures of a study's rows on one data set.

    Raises:
        RunError: a damaged file.
    """
    records = study.rows[data]
    budgets = [study.budget, *([study.confirm] if study.confirm else [])]
    found = [(budget, ranked(measured(records, budget))) for budget in budgets]
    found = [(budget, rows) for budget, rows in found if rows]
    best = found[-1][1][0].name if found else ""
    return DataResult(data, records, tuple(_level(budget, rows, best) for budget, rows in found))


def _level(budget: str, rows: list[Measured], best: str) -> Level:
    first = next((row for row in rows if row.name == best), rows[0])
    sound = [row for row in rows if not row.masked]
    robust = [row.robust.accuracy for row in sound]
    cheap = [-row.cost.flops if row.cost.flops is not None else -row.cost.seconds for row in sound]
    clean = [row.clean.accuracy for row in sound]
    fronts = [
        tuple(sound[place].name for place in front(list(zip(robust, each, strict=True)))) for each in (cheap, clean)
    ]
    return Level(budget, tuple(rows), first, tests_of(rows, first), *fronts)
