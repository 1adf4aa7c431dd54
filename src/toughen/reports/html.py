"""A run's report: one HTML file, readable offline, on paper and on a phone."""

from pathlib import Path

from toughen.reports.page import render, write_page
from toughen.reports.run_data import read_run
from toughen.reports.sections import all_sections
from toughen.reports.text import moment
from toughen.run import RunFolder


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` from the files of a run folder.

    The page loads nothing: styles, plots (SVG) and images (PNG) lie in it. A section whose files are missing
    is left out, so a run that was only trained, or a model that was only evaluated, has a report too.

    Returns:
        Path: where the report lies.

    Raises:
        RunError: neither metrics.csv nor result.json in the folder; a damaged file; a report.html that is not
            ours.
    """
    run = read_run(folder)
    built = [(section, section.build(run)) for section in all_sections()]
    shown = [
        {"name": section.name, "entry": section.entry, "title": section.title, "html": render(section.name, **context)}
        for section, context in built
        if context is not None
    ]
    created = moment(run.result.get("created", ""))
    return write_page(folder.report, render("report", title=run.name, sections=shown, created=created))
