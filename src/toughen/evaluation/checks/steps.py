"""More steps must not help the model."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, holds_more, of
from toughen.evaluation.statistics.intervals import mcnemar


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where PGD with more steps leaves significantly more images."""
    assert evidence.again is not None
    steps = [evidence.again["steps"], evidence.again["more_steps"]]
    few, many = evidence.held_again("eps"), evidence.held_again("more_steps")
    failed, n = holds_more(few, many), len(few)
    said = f"PGD-{steps[0]} leaves {of(int(few.sum()), n)}, PGD-{steps[1]} {of(int(many.sum()), n)}"
    figures = {"steps": steps, "held": [int(few.sum()), int(many.sum())], "n": n, "p": mcnemar(few, many)}
    return CheckResult(not failed, said + (": short steps lose their way" if failed else ""), figures)


CHECK = Check("steps_never_help", 40, "More steps never help the model", _judge, again=True)
