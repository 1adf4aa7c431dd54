"""A copy of the model that was asked nothing before must give the verdicts that the attacked model gave."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, more_than_chance, of


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where the copy, in another order and batch, answers otherwise for more images than chance would.

    A random model is asked with the same draws. It may have others than torch's: there it fails where the copy breaks a
    quarter of the images more than it lets hold.
    """
    found = evidence.fresh
    if not found or not found["n"]:
        return CheckResult(None, "no image was attacked and judged again")
    whom = "a fresh copy" if found["copied"] else "the model, which cannot be copied,"
    n, differ, lost, won = (found[name] for name in ("n", "differ", "lost", "won"))
    if found["random"]:
        failed = lost - won > n / 4
        said = f"{whom} breaks {lost:,} attacked images that held, and {won:,} that were broken hold"
    else:
        failed = more_than_chance(differ, n)
        said = f"{whom} answers otherwise for {of(differ, n)} of the attacks"
    why = ": the model changes as it is asked, or an image's logits with its batch" if failed else ""
    return CheckResult(not failed, said + why, dict(found))


CHECK = Check("fresh_copy_agrees", 80, "A fresh copy of the model gives the same verdicts in other batches", _judge)
