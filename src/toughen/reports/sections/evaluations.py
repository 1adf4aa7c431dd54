"""All evaluations of a run beside each other, where there are several."""

from typing import Any

from toughen.evaluation.checks.doubts import reasons
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import moment, threat_short


def build(run: RunData) -> dict[str, Any] | None:
    """A row an evaluation, the headline first."""
    if len(run.evaluations) < 2:
        return None
    headline = run.evaluations[0][1]
    return {"rows": [_row(name, result, headline) for name, result in run.evaluations]}


def _row(name: str, result: dict[str, Any], headline: dict[str, Any]) -> dict[str, Any]:
    same_model = result["model"]["sha256"] == headline["model"]["sha256"]
    return {
        "page": f"evaluations/{name}/report.html",
        "budget": result["budget"],
        "threat": threat_short(result["threat"]),
        "data": result["data"]["name"] + ("" if same_model else ", other weights"),
        "created": moment(result["created"]),
        "robust": result["robust_accuracy"],
        "complete": result.get("complete", True),
        "doubts": [check["title"] for check in reasons(result)],
    }


SECTION = Section("evaluations", 15, "Evaluations", "All evaluations of this run", build)
