"""The figures of a study's rows, from the verdicts and metrics.csv of their runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from toughen.evaluation.records.evaluations import Evaluations
from toughen.evaluation.statistics.seeds import Spread, over_seeds
from toughen.reports.evaluated import Evaluated, read_evaluated
from toughen.reports.study.record import RowRecord
from toughen.run import RunFolder
from toughen.training.log import read_rows


@dataclass(frozen=True)
class OverRuns:
    """A share over the runs of a row.

    Attributes:
        values: of each run.
        images: 95 % interval for other images: the mean of the runs' own. As the mean of figures spreads no wider than
            they do in the mean, it is not too narrow, whether or not the runs hold on the same images.
        seeds: over the runs; None of one run.
    """

    values: tuple[float, ...]
    images: tuple[float, float]
    seeds: Spread | None

    @property
    def accuracy(self) -> float:
        """The mean."""
        return mean(self.values)


@dataclass(frozen=True)
class RunCost:
    """What a run of a row takes: of seconds the median of its runs, as one may have stood still for a while.

    Attributes:
        flops: of its training, and of those it is given, the mean; None where they are not recorded.
        seconds: likewise, without validation.
        memory: the most that it held, in bytes.
        evaluation: seconds of its evaluation.
        passes: forward and backward passes of the network in a step; None where they could not be counted.
    """

    flops: float | None
    seconds: float
    memory: float | None
    evaluation: float
    passes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measured:
    """A row's runs under one budget.

    Attributes:
        name: of the row.
        runs: those that were evaluated so, each with its seed.
        clean: accuracy without attack.
        robust: accuracy under all attacks together.
        cost: of training and evaluating a run.
    """

    name: str
    runs: tuple[tuple[int, Evaluated], ...]
    clean: OverRuns
    robust: OverRuns
    cost: RunCost

    @property
    def masked(self) -> list[str]:
        """Reasons not to believe the robust accuracy of one of the runs."""
        return list(dict.fromkeys(title for _, run in self.runs for title in run.masked))

    @property
    def estimated(self) -> bool:
        """Whether one of the figures is an audit's estimate."""
        return any(run.estimated for _, run in self.runs)


def evaluations_of(run: RunFolder, budget: str) -> list[tuple[RunFolder, dict[str, Any]]]:
    """The complete evaluations of a run by a budget, with their results, the one that the run leads with first."""
    if not (run.path / "evaluations").is_dir():
        return []
    return [
        (folder, result)
        for folder, result in Evaluations(run).all()
        if result["budget"] == budget and result.get("complete", True)
    ]


def measured(rows: Sequence[RowRecord], budget: str) -> list[Measured]:
    """The rows of one data set that have runs evaluated by this budget, in their order.

    Of several evaluations of a run the one counts whose protocol most runs were evaluated by; a run without is left
    out. A row that needs the runs of others has their cost too.

    Raises:
        RunError: a damaged file.
    """
    found = [
        (row.name, run.seed, evaluation)
        for row in rows
        for run in row.runs
        if run.begun
        for evaluation in evaluations_of(run.folder, budget)
    ]
    runs = read_evaluated([folder for _, _, (folder, _) in found])
    protocols = [run.protocol for run in runs]
    of: dict[str, dict[int, tuple[Evaluated, dict[str, Any]]]] = {}
    for (name, seed, (_, result)), run in zip(found, runs, strict=True):
        if run.protocol == max(protocols, key=protocols.count):
            of.setdefault(name, {}).setdefault(seed, (run, result))
    known = {row.name: row for row in rows}
    whole = {
        name: _measured(name, [(seed, *each) for seed, each in by_seed.items()], known[name].passes)
        for name, by_seed in of.items()
    }
    return [_with_needed(row, [whole.get(of) for of in known[row.name].needs]) for row in whole.values()]


def _with_needed(row: Measured, needed: Sequence[Measured | None]) -> Measured:
    """With the cost of the runs that are trained for it; unknown where one of them has none."""
    costs = [row.cost, *(None if each is None else each.cost for each in needed)]
    flops = [None if each is None else each.flops for each in costs]
    known = [each for each in flops if each is not None]
    return replace(
        row,
        cost=replace(
            row.cost,
            flops=math.fsum(known) if len(known) == len(flops) else None,
            seconds=math.fsum(each.seconds for each in costs if each is not None),
        ),
    )


def _measured(
    name: str, runs: Sequence[tuple[int, Evaluated, dict[str, Any]]], passes: tuple[int, int] | None
) -> Measured:
    clean, robust = ([getattr(run, kind) for _, run, _ in runs] for kind in ("clean", "robust"))
    costs = [_cost(run.folder, result) for _, run, result in runs]
    known = [each.flops for each in costs if each.flops is not None]
    memory = [each.memory for each in costs if each.memory is not None]
    cost = RunCost(
        mean(known) if len(known) == len(costs) else None,
        median(each.seconds for each in costs),
        max(memory, default=None),
        median(each.evaluation for each in costs),
        passes,
    )
    return Measured(name, tuple((seed, run) for seed, run, _ in runs), _average(clean), _average(robust), cost)


def _average(figures: Sequence[dict[str, Any]]) -> OverRuns:
    values = tuple(each["accuracy"] for each in figures)
    low, high = (mean(each["interval"][end] for each in figures) for end in (0, 1))
    return OverRuns(values, (low, high), over_seeds(values) if len(values) > 1 else None)


def _cost(evaluation: RunFolder, result: dict[str, Any]) -> RunCost:
    rows = read_rows(evaluation.metrics)
    flops = rows[-1].get("flops", math.nan) if rows else math.nan
    memory = [row["peak_memory_bytes"] for row in rows if not math.isnan(row.get("peak_memory_bytes", math.nan))]
    return RunCost(
        None if math.isnan(flops) else flops,
        trained_seconds(evaluation),
        max(memory, default=None),
        sum(result.get("seconds", {}).values()),
    )


def trained_seconds(run: RunFolder) -> float:
    """How long a run trained, without validation; 0 where it came to no epoch."""
    rows = read_rows(run.metrics) if run.metrics.exists() else []
    return math.fsum(row.get("seconds", 0.0) for row in rows)


def ranked(rows: Sequence[Measured]) -> list[Measured]:
    """The rows by descending robust accuracy, those whose figure is doubted last."""
    return sorted(rows, key=lambda row: (bool(row.masked), -row.robust.accuracy, -row.clean.accuracy))


def to_confirm(rows: Sequence[Measured], best: int) -> list[str]:
    """The names of the rows that are to be evaluated by a second budget: the best so many of the first."""
    return [row.name for row in ranked(rows)[:best]]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of the points that no other one beats in one value without losing in the other; more is better.

    >>> front([(1, 5), (2, 4), (1, 4), (3, 1)])
    [0, 1, 3]
    """
    return [
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]
