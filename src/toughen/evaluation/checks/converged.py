"""More steps must not break more than the evaluation did."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, holds_more, of
from toughen.evaluation.statistics.intervals import mcnemar


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where PGD with more steps leaves significantly fewer images than all attacks of the evaluation."""
    assert evidence.again is not None
    robust, long = evidence.both("more_steps")
    if not len(robust):
        return CheckResult(None, "the images that were attacked again are not among the evaluated ones")
    failed, n = holds_more(long, robust), len(robust)
    said = (
        f"the evaluation leaves {of(int(robust.sum()), n)}, PGD-{evidence.again['more_steps']} alone "
        f"{of(int(long.sum()), n)}"
    )
    figures = {
        "steps": evidence.again["more_steps"],
        "held": [int(robust.sum()), int(long.sum())],
        "n": n,
        "p": mcnemar(long, robust),
    }
    return CheckResult(not failed, said + (": the attack has not converged" if failed else ""), figures)


CHECK = Check("attack_converged", 50, "More steps break no more than the evaluation did", _judge, again=True)
