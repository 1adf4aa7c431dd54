"""The complete configuration, as the YAML that repeats the run."""

from typing import Any

import yaml

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section


def build(run: RunData) -> dict[str, Any] | None:
    """The configuration's text and the command that takes it."""
    if not run.config:
        return None
    command = "train" if "method" in run.config else "evaluate"
    return {"text": yaml.safe_dump(run.config, sort_keys=False), "command": command}


SECTION = Section("configuration", 90, "Settings", "Configuration", build)
