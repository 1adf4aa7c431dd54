"""Why the network withstands or does not, in the words of the analyses that were made."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import moment


def build(run: RunData) -> dict[str, Any] | None:
    """A sentence an explanation, with a link to its pictures and figures."""
    if not run.explained:
        return None
    return {"found": run.explained, "created": moment(max(each.created for each in run.explained))}


SECTION = Section("explained", 35, "Why", "Why it withstands, or not", build)
