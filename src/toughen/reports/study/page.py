"""A study as one HTML file, which answers first."""

import os
from pathlib import Path
from typing import Any

from toughen.reports.page import render, write_page
from toughen.reports.plots import clean_robust_plot, cost_plot
from toughen.reports.study.answers import answers
from toughen.reports.study.as_json import write_json
from toughen.reports.study.claims import answered
from toughen.reports.study.record import StudyRecord
from toughen.reports.study.results import DataResult, Level, result_of

PAGE, RESULTS = "report.html", "results.json"
MATRIX = 24
"""Rows up to which the page has the table of all pairs; the JSON has it always."""


def write_study(study: StudyRecord) -> tuple[Path, Path]:
    """Write a study's page and its results, from what its runs have left.

    Returns:
        tuple: where the page and the JSON lie.

    Raises:
        RunError: a file that is not a page of ours has this name; the disk cannot be written; a damaged file.
    """
    results = [result_of(study, name) for name in study.rows]
    claims = answered(study, results)
    file = write_json(study, results, claims, study.folder / RESULTS)
    shown = [
        {
            "result": result,
            "answers": answers(result),
            "claims": claims[result.name],
            "lacking": result.lacking,
            "plots": _plots(result.levels[0], f"d{number}") if result.levels else (),
            "matrix": _matrix(result.levels[0]) if result.levels else {},
            "links": _links(study, result),
        }
        for number, result in enumerate(results)
    ]
    return write_page(study.folder / PAGE, render("study", study=study, shown=shown, results=RESULTS)), file


def _plots(level: Level, name: str) -> tuple[Any, Any]:
    rows = level.rows
    by_flops = all(row.cost.flops for row in rows)
    costs = [row.cost.flops if by_flops else row.cost.seconds for row in rows]
    points = [(max(cost or 0.0, 1e-9), row.robust.accuracy) for cost, row in zip(costs, rows, strict=True)]
    fronts = [
        {place for place, row in enumerate(rows) if row.name in of} for of in (level.robust_front, level.clean_front)
    ]
    figures = [
        {
            "name": row.name,
            "clean": {"accuracy": row.clean.accuracy, "interval": row.clean.images},
            "robust": {"accuracy": row.robust.accuracy, "interval": row.robust.images},
        }
        for row in rows
    ]
    unit = "FLOPs" if by_flops else "seconds"
    return (
        cost_plot(points, fronts[0], unit, f"{name}-cost"),
        clean_robust_plot(figures, f"{name}-clean", fronts[1]),
    )


def _matrix(level: Level) -> dict[str, list[Any]]:
    """For each row its tests against all rows, in their order; None in its own place."""
    names = [row.name for row in level.rows]
    pairs = {(each.first, each.second): each for each in level.tested.pairs}
    if not 2 < len(names) <= MATRIX or any(each.images is None for each in pairs.values()):
        return {}

    def cell(row: str, column: str) -> dict[str, Any] | None:
        if row == column:
            return None
        test, sign = (pairs[row, column], 1) if (row, column) in pairs else (pairs[column, row], -1)
        assert test.images is not None
        return {"difference": sign * test.images.difference, "p": test.p_images}

    return {row: [cell(row, column) for column in names] for row in names}


def _links(study: StudyRecord, result: DataResult) -> dict[str, list[tuple[int, str]]]:
    """Seed and page of each run of each row that has one."""
    return {
        row.name: [
            (run.seed, Path(os.path.relpath(run.folder.report, study.folder)).as_posix())
            for run in row.runs
            if run.folder.report.exists()
        ]
        for row in result.records
    }
