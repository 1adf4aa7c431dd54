"""Attacks that see no gradient must not break what the gradient attacks left."""

import numpy as np

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, more_than_chance, of


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where Square and transferred images break more of what the gradient attacks left than chance would."""
    again = _again(evidence)
    names = evidence.black_box
    if not names or not evidence.white_box:
        return again or CheckResult(
            None,
            "there was no attack without gradients: the self-checks have one, so has --budget standard, and --transfer",
        )
    gradient = np.logical_or.reduce([evidence.broken_by_gradient(name) for name in evidence.white_box])
    broken = {name: evidence.broken_without_gradient(name) & ~gradient for name in names}
    count, n = int(np.logical_or.reduce(list(broken.values())).sum()), len(gradient)
    failed = more_than_chance(count, n)
    if again is not None and not again.passed and not failed:
        return again
    said = f"attacks without gradients break {of(count, n)} that the gradient attacks left"
    figures = {"broken": {name: int(rows.sum()) for name, rows in broken.items()}, "together": count, "n": n}
    return CheckResult(not failed, said + (": the gradient hides them" if failed else ""), figures)


def _again(evidence: Evidence) -> CheckResult | None:
    """What Square of the self-checks broke of all that the evaluation left; None where it did not run."""
    if evidence.again is None or "square" not in evidence.again["held"]:
        return None
    robust, square = evidence.both("square")
    if not len(robust):
        return None
    count, n, queries = int((robust & ~square).sum()), len(robust), evidence.again["settings"]["queries"]
    failed = more_than_chance(count, n)
    said = f"Square with {queries} queries breaks {of(count, n)} that the attacks left"
    why = ": the gradient hides them" if failed else ""
    return CheckResult(not failed, said + why, {"broken": {"square": count}, "together": count, "n": n})


CHECK = Check("black_box_never_wins", 70, "Attacks without gradients break nothing that the others left", _judge)
