"""The sections of a report, one file each: found by their files, ordered by their place.

To add one, add `sections/NAME.py` with a `SECTION`, and `templates/NAME.html.j2` that shows what it builds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from toughen.reports.run_data import RunData

__all__ = ["Section", "all_sections"]


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        name: what its template and its anchor in the page are called.
        place: sections stand in ascending order of it.
        entry: word or two in the page's navigation.
        title: heading.
        build: the template's variables; None where the run lacks what the section shows.
    """

    name: str
    place: int
    entry: str
    title: str
    build: Callable[[RunData], dict[str, Any] | None]


def all_sections() -> list[Section]:
    """Every section, in the order of the page."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return sorted((module.SECTION for module in modules), key=lambda section: section.place)
