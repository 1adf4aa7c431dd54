"""Protocol of the figures: threat, sample, attack settings, data, model, versions."""

from typing import Any

from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title, duration, flatten, threat_short

SHOWN_ELSEWHERE = {
    "schema",
    "robust_accuracy",
    "figures",
    "warnings",
    "threat",
    "attacks",
    "versions",
    "seconds",
    "preflight",
    "checks",
    "masking_suspected",
    "analyses",
    "per_class",
    "confusion",
    "calibration",
    # Logits and gradients of a few images, by which verdicts of another model are told: hundreds of numbers.
    "probe",
}


def build(run: RunData) -> dict[str, Any] | None:
    """Tables of names and values, from all that the result records."""
    if not run.result:
        return None
    result = run.result
    rest = {name: value for name, value in result.items() if name not in SHOWN_ELSEWHERE}
    data = dict(rest.get("data", {}))
    classes = data.pop("classes", None)
    evaluation = {"threat": threat_short(result["threat"])} | flatten({**rest, "data": data})
    if classes:
        evaluation["data.classes"] = str(len(classes))
    times = {attack_title(attack): duration(value) for attack, value in result.get("seconds", {}).items()}
    tables = [
        ("Evaluation", evaluation),
        *((f"{attack_title(attack)} settings", flatten(settings)) for attack, settings in result["attacks"].items()),
        *(
            (f"{name.replace('_', ' ').capitalize()} settings", flatten(facts.get("settings", {})))
            for name, facts in result.get("analyses", {}).items()
        ),
        ("Time", times),
        ("Environment", flatten(result.get("versions", {}))),
    ]
    return {"tables": [(title, rows) for title, rows in tables if rows]}


SECTION = Section("protocol", 80, "Protocol", "Protocol", build)
