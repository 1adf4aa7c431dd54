"""The headline figures, how sure they are, and under which protocol."""

from typing import Any

from toughen.evaluation.checks.doubts import reasons
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title, class_name, model_name, threat_short
from toughen.reports.verdict import verdict_of
from toughen.threat import described_threat


def build(run: RunData) -> dict[str, Any] | None:
    """Both headline figures, whether they are to be doubted, the sentence that explains them, and the warnings."""
    facts = {"method": class_name(run.config.get("method")), "model": model_name(run.config, run.result)}
    if not run.result:
        return {"robust": None, "facts": facts, "warnings": [], "run": run.name}
    result = run.result
    data, classes = result["data"], len(result["data"].get("classes") or [])
    total = f" of {data['n_total']}" if "n_total" in data else ""
    attacks = [attack_title(attack) for attack in result["figures"] if attack != "clean"]
    facts |= {
        "data": f"{data['name']}, {data['split']} set",
        "threat": threat_short(result["threat"]),
        "attacks": f"{', '.join(attacks)} ({result['budget']})",
        "images": f"{result['robust_accuracy']['n']}{total}",
        "self-checks": _tally(result.get("checks", [])),
    }
    return {
        "verdict": verdict_of(run),
        "robust": result["robust_accuracy"],
        "clean": result["figures"]["clean"],
        "chance": 1 / classes if classes else None,
        "allowed": described_threat(result["threat"]).sentence(),
        "facts": facts,
        "warnings": result.get("warnings", []),
        "masked": reasons(result),
        "run": run.name,
    }


def _tally(checks: list[dict[str, Any]]) -> str:
    """Outcome of the self-checks in a few words; a dash where none ran."""
    outcomes = [check["passed"] for check in checks]
    words = {True: "passed", False: "failed", None: "not judged"}
    return ", ".join(f"{outcomes.count(o)} {word}" for o, word in words.items() if o in outcomes) or "-"


SECTION = Section("summary", 10, "Summary", "Summary", build)
