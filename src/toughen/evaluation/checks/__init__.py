"""Is the figure to be believed? The checks of a finished evaluation, one file each, found by their files.

verdict table + what `SelfChecks` found -> `Evidence` -> each check's `CheckResult` -> `checks` in the result

They are the checklist of Carlini et al., On Evaluating Adversarial Robustness, 2019, section 5. One that fails says
that the attacks may have been blind, so the robust accuracy may be too high: gradient masking is suspected.

To add one, add `checks/NAME.py` with a `CHECK`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from toughen.attacks.base import FURTHER
from toughen.evaluation.checks.evidence import CheckResult, Evidence
from toughen.evaluation.records.verdicts import Verdicts

__all__ = ["Check", "all_checks", "run_checks"]


@dataclass(frozen=True)
class Check:
    """One of the checks.

    Attributes:
        name: in the result.
        place: checks are listed in ascending order of it.
        title: what holds where it passes.
        judge: from the evidence to the outcome.
        again: whether it needs `Evidence.again`.
    """

    name: str
    place: int
    title: str
    judge: Callable[[Evidence], CheckResult]
    again: bool = False


def all_checks() -> list[Check]:
    """Every check, in order.

    >>> [check.name for check in all_checks()][:2]
    ['iterative_beats_single_step', 'eps_never_helps']
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return sorted((module.CHECK for module in modules if hasattr(module, "CHECK")), key=lambda check: check.place)


def run_checks(
    verdicts: Verdicts, analyses: Mapping[str, Any], fresh: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What all checks say of an evaluation, before the attacks that followed a doubt.

    Args:
        verdicts: its table.
        analyses: what its analyses found, by name.
        fresh: see `Evidence`.

    Returns:
        dict: `checks`, for each its name, title, passed (None where it cannot be judged), message and figures; and
        `masking_suspected`, the names of those that failed, where at least one was judged.
    """
    evidence = Evidence(verdicts.without(FURTHER), analyses.get("self_checks"), fresh)
    rows = [
        {
            "name": check.name,
            "title": check.title,
            "passed": outcome.passed,
            "message": outcome.message,
            "figures": dict(outcome.figures),
        }
        for check in all_checks()
        for outcome in [_judge(check, evidence)]
    ]
    if all(row["passed"] is None for row in rows):
        return {"checks": rows}
    return {"checks": rows, "masking_suspected": [row["name"] for row in rows if row["passed"] is False]}


def _judge(check: Check, evidence: Evidence) -> CheckResult:
    if not evidence.verdicts.held("clean").any():
        return CheckResult(None, "no image is classified correctly without an attack")
    if check.again and evidence.again is None:
        return CheckResult(None, "no image was attacked again: the self-checks were switched off, or time was up")
    return check.judge(evidence)
