"""Attacks beyond the evaluation's own: other norms, an attack that sees only decisions, the smallest perturbations."""

from typing import Any

from toughen.reports.plots import norm_plot
from toughen.reports.run_data import RunData
from toughen.reports.sections import Section
from toughen.reports.text import attack_title, threat_short


def build(run: RunData) -> dict[str, Any] | None:
    """A table of the attacks, and a histogram of the smallest perturbations."""
    analyses, rows = run.result.get("analyses", {}), []
    for row in analyses.get("other_norms", {}).get("rows", []):
        rows.append({**row, "title": attack_title(row["attack"]), "threat": threat_short(row), "about": ""})
    decision = analyses.get("decision_based")
    if decision:
        threat = threat_short(run.result["threat"])
        rows.append({**decision, "title": decision["attack"], "threat": threat, "about": _effort(decision)})
    smallest = _smallest(run, analyses.get("minimum_norm"))
    return {"rows": rows, "smallest": smallest} if rows or smallest else None


def _effort(facts: dict[str, Any]) -> str:
    """Description of a decision-based attack, and how long it searched."""
    spent = [f"{facts[unit]:,} {unit}" for unit in ("queries", "steps") if isinstance(facts.get(unit), int)]
    return ", ".join(["sees decisions only", *spent])


def _smallest(run: RunData, facts: dict[str, Any] | None) -> dict[str, Any] | None:
    if not facts:
        return None
    found = [size for size in facts["norms"] if size]
    eps = float(run.result["threat"]["eps"])
    return {
        "median": None,
        "held_at_eps": None,
        **facts,
        "plot": norm_plot(found, eps, facts["norm"], "norms") if found else None,
        "eps": eps,
        "found": len(found),
        "wrong": facts["norms"].count(0),
        "never": facts["norms"].count(None),
    }


SECTION = Section("norms", 65, "Other attacks", "Other attacks and norms", build)
