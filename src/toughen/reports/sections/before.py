"""The network that the run started from beside the trained one."""

from typing import Any

from toughen.evaluation.checks.doubts import reasons
from toughen.reports.change import changes_of
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title


def build(run: RunData) -> dict[str, Any] | None:
    """Clean and robust accuracy before and after, on the same images."""
    changes = changes_of(run)
    if not changes or run.before is None:
        return None
    names = [attack_title(name) for name in run.before.result["figures"] if name != "clean"]
    return {
        "changes": {"no attack": changes["clean"], "under attack": changes["robust"]},
        "attacks": ", ".join(names),
        "doubts": [each["title"] for each in reasons(run.before.result)],
    }


SECTION = Section("before", 12, "Before", "Before and after training", build)
