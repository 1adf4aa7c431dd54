"""Without a bound on the perturbation no image may hold."""

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, more_than_chance, of

LOSSES = {"ce": "the cross-entropy", "margin": "the margin"}


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where PGD from the clean image, whatever it may change, leaves more images than chance would.

    Images of every class can be reached then, so an attack that stops short has no gradient to go by. It must get there
    up the cross-entropy, which saturated logits mask, and up the margin.
    """
    held = {loss: evidence.held_again(f"unbounded_{loss}") for loss in LOSSES}
    counts, n = {loss: int(values.sum()) for loss, values in held.items()}, len(held["margin"])
    blind = [LOSSES[loss] for loss, count in counts.items() if more_than_chance(count, n)]
    said = " and ".join(f"{of(count, n)} on {LOSSES[loss]}" for loss, count in counts.items())
    why = f": {' and '.join(blind)} give{'s' if len(blind) == 1 else ''} no gradient to follow" if blind else ""
    return CheckResult(not blind, f"PGD without a bound leaves {said}{why}", {"held": counts, "n": n})


CHECK = Check("unbounded_reaches_zero", 30, "Without a bound on the radius no image holds", _judge, again=True)
