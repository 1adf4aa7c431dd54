"""Reasons to believe or to doubt the figures: findings before the attacks, and self-checks after them."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section

OUTCOMES = {False: "failed", None: "not judged", True: "passed"}


def build(run: RunData) -> dict[str, Any] | None:
    """The findings, doubts first, and the checks, failed ones first."""
    if not {"checks", "preflight"} & run.result.keys():
        return None
    outcomes = list(OUTCOMES)
    checks = sorted(run.result.get("checks", []), key=lambda check: outcomes.index(check["passed"]))
    findings = sorted(run.result.get("preflight", []), key=lambda finding: finding["severity"] != "doubt")
    return {
        "checks": [{**check, "outcome": OUTCOMES[check["passed"]]} for check in checks],
        "failed": sum(check["passed"] is False for check in checks),
        "findings": findings,
        "looked": "preflight" in run.result,
    }


SECTION = Section("checks", 30, "Checks", "Can the figures be trusted?", build)
