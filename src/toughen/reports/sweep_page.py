"""A sweep as one HTML file."""

import os
from pathlib import Path

from toughen.reports.grid_tables import grid_tables
from toughen.reports.page import render, write_page
from toughen.reports.plots import importance_plot, trials_plot
from toughen.run import RunFolder
from toughen.search.records import SweepRecord, TrialRecord, front_of


def write_sweep(record: SweepRecord) -> Path:
    """Write a sweep's page: its trials, their front, a grid's tables, the settings' importance, the best's command.

    Returns:
        Path: where it lies.

    Raises:
        RunError: a file that is not a page of ours has this name; the disk cannot be written; a damaged result.
    """
    complete, front = [each for each in record.trials if each.state == "complete"], front_of(record.trials)
    tested = {each.number: folder.read_result() for each, folder in _evaluated(record)}
    page = record.folder / "report.html"
    links = {
        each.number: Path(os.path.relpath(folder.report, page.parent)).as_posix()
        for each, folder in _evaluated(record)
        if folder.report.exists()
    }
    return write_page(
        page,
        render(
            "sweep",
            record=record,
            settings=list(dict.fromkeys(name for each in record.trials for name in each.values)),
            tested=tested,
            links=links,
            grids=grid_tables(record.trials) if record.search == "grid" else [],
            plot=trials_plot(complete, front, "trials") if front else "",
            importance=importance_plot(record.importance, "importance") if record.importance else "",
        ),
    )


def _evaluated(record: SweepRecord) -> list[tuple[TrialRecord, RunFolder]]:
    """The chosen trials that have been evaluated on test images, with their runs."""
    runs = [(each, RunFolder(record.place(each))) for each in record.chosen]
    return [(each, run) for each, run in runs if run.result.exists()]
