"""Pages from templates: each is one HTML file that loads nothing from anywhere."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from toughen._version import __version__
from toughen.errors import RunError, ToughenWarning
from toughen.numbers import as_text
from toughen.printable import visible
from toughen.reports import text
from toughen.reports.run_data import RunData, read_run
from toughen.reports.sections import all_sections
from toughen.reports.text import moment
from toughen.run import RunFolder, atomic
from toughen.run.manifest import seal

GENERATOR = '<meta name="generator" content="toughen'
"""How a page of ours is recognised before it is overwritten."""
_SEAL = "\n<!-- SHA-256 of what stands above, as JSON: "


@cache
def environment() -> Environment:
    """The templates' environment: everything that is filled in is escaped, and nothing turns the text around it."""
    templates = Environment(
        loader=PackageLoader("toughen.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (text.percent, text.bounds, text.interval, text.points, text.p_value, text.duration, as_text):
        templates.filters[function.__name__] = function
    return templates


def render(template: str, **variables: Any) -> str:
    """The text of a template of this package."""
    return environment().get_template(f"{template}.html.j2").render(version=__version__, **variables)


def is_ours(path: Path) -> bool:
    """Whether a file is a page that this package wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(2000)


def write_page(path: Path, html: str) -> Path:
    """Write a page, in place of an earlier one.

    Raises:
        RunError: something else has this name; the disk cannot be written.
    """
    if path.exists() and not is_ours(path):
        raise RunError(f"{path} exists and is not a page of toughen, so it stays; choose another name with --out")
    with atomic(path) as temporary:
        temporary.write_text(f"{html}{_SEAL}{seal(html)} -->\n", encoding="utf-8")
    return path


def is_as_written(path: Path) -> bool:
    """Whether a page of ours, where there is one, is as this package wrote it; older versions' have no checksum."""
    if not is_ours(path):
        return True
    html, found, rest = path.read_text(encoding="utf-8", errors="replace").rpartition(_SEAL)
    return not found or rest == f"{seal(html)} -->\n"


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` from the files of a run folder, or of one evaluation in it.

    The page loads nothing: styles, plots (SVG) and images (PNG) lie in it. A section whose files are missing
    is left out, so a run that was only trained, or a model that was only evaluated, has a report too. A run's page has
    the figures of its headline, and a table of all its evaluations.

    Returns:
        Path: where the report lies.

    Raises:
        RunError: neither metrics.csv nor result.json in the folder; a damaged file; a report.html that is not
            ours.
    """
    run = read_run(folder)
    return _write(folder, run, _sections(run))


def write_reports(evaluation: RunFolder) -> Path:
    """Write the pages of an evaluation and of its run, those of them that are older than what they show.

    Returns:
        Path: where the evaluation's page lies.

    Raises:
        RunError: as for `write_report`.
    """
    folder = RunFolder(evaluation.run)
    beside = folder.path.glob("evaluations/*/result.json")
    shared = []
    if _older(folder.report, folder.result, folder.metrics, *beside):
        run = read_run(folder)
        sections = _sections(run)
        _write(folder, run, sections)
        if run.evaluations[0][0] == evaluation.path.name:  # drawing takes seconds
            shared = [section for section in sections if section["name"] not in ("evaluations", "explained")]
    if _older(evaluation.report, evaluation.result):
        run = read_run(evaluation)
        _write(evaluation, run, shared or _sections(run))
    for page in (folder.report, *sorted(folder.path.glob("evaluations/*/report.html"))):
        if not is_as_written(page):
            warnings.warn(
                f"{page} is damaged, or was changed: delete it, and `toughen evaluate {folder.path}` makes it again",
                ToughenWarning,
                stacklevel=2,
            )
    return evaluation.report


def _older(page: Path, *files: Path) -> bool:
    return not page.exists() or any(file.exists() and file.stat().st_mtime > page.stat().st_mtime for file in files)


def _sections(run: RunData) -> list[dict[str, str]]:
    built = [(section, section.build(run)) for section in all_sections()]
    return [
        {"name": section.name, "entry": section.entry, "title": section.title, "html": render(section.name, **context)}
        for section, context in built
        if context is not None
    ]


def _write(folder: RunFolder, run: RunData, sections: list[dict[str, str]]) -> Path:
    run_page = "" if folder.path == folder.run else "../../report.html"
    created = moment(run.result.get("created", ""))
    return write_page(
        folder.report, render("report", title=run.name, sections=sections, created=created, run_page=run_page)
    )
