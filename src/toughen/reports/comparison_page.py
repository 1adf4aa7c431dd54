"""A comparison as one HTML file."""

import os
from pathlib import Path

from toughen.reports.comparison import Comparison
from toughen.reports.page import render, write_page
from toughen.reports.plots import clean_robust_plot


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write a comparison's page.

    Returns:
        Path: where it lies.

    Raises:
        RunError: a file that is not a page of ours has this name; the disk cannot be written.
    """
    points = [{"name": run.name, "clean": run.clean, "robust": run.robust} for run in comparison.ranked]
    links = {
        run.name: Path(os.path.relpath(run.folder.report, path.parent)).as_posix()
        for run in comparison.runs
        if run.folder.report.exists()
    }
    plot = clean_robust_plot(points, "clean-robust")
    return write_page(path, render("comparison", comparison=comparison, links=links, plot=plot))
