"""A larger radius must not help the model."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, holds_more, of
from toughen.evaluation.statistics.intervals import mcnemar
from toughen.numbers import as_text


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where PGD leaves significantly more images at twice the radius."""
    assert evidence.again is not None
    eps, twice = evidence.again["eps"], evidence.again["double_eps"]
    small, large = evidence.held_again("eps"), evidence.held_again("double_eps")
    failed, n = holds_more(small, large), len(small)
    said = (
        f"PGD-{evidence.again['steps']} leaves {of(int(small.sum()), n)} at eps {as_text(eps)}, "
        f"{of(int(large.sum()), n)} at {as_text(twice)}"
    )
    figures = {"eps": [eps, twice], "held": [int(small.sum()), int(large.sum())], "n": n, "p": mcnemar(small, large)}
    return CheckResult(
        not failed, said + (": the gradient vanishes or misleads away from the image" if failed else ""), figures
    )


CHECK = Check("eps_never_helps", 20, "A larger radius never helps the model", _judge, again=True)
