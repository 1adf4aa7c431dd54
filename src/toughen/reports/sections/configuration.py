"""The complete configuration, as the YAML that repeats the run."""

from typing import Any

import yaml

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section


def build(run: RunData) -> dict[str, Any] | None:
    """The configuration's text."""
    return {"text": yaml.safe_dump(run.config, sort_keys=False)} if run.config else None


SECTION = Section("configuration", 90, "Configuration", build)
