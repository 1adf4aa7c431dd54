"""Random noise must not break what the attacks left."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, more_than_chance, of


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where random points of the ball break more of the images that held than chance would."""
    assert evidence.again is not None
    robust, noise = evidence.both("noise")
    if not len(robust):
        return CheckResult(None, "the images that were attacked again are not among the evaluated ones")
    count, n, draws = int((robust & ~noise).sum()), len(robust), evidence.again["settings"]["draws"]
    failed = more_than_chance(count, n)
    said = f"{draws} random points an image break {of(count, n)} that had held"
    figures = {"broken": count, "draws": draws, "n": n}
    return CheckResult(not failed, said + (": the attacks search worse than chance" if failed else ""), figures)


CHECK = Check("noise_never_wins", 60, "Random noise breaks nothing that the attacks left", _judge, again=True)
