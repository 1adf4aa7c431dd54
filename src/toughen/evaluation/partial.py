"""What an evaluation says that is not complete."""

from collections.abc import Sequence
from typing import Any

from toughen.evaluation.records.spec import EvaluationSpec
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.statistics.intervals import of_a_whole


def of_all_planned(spec: EvaluationSpec, missing: Sequence[str], verdicts: Verdicts) -> dict[str, Any]:
    """What the images that are done say of all that were planned: `n` and the `interval` of their robust accuracy.

    They are a sample of all, as every beginning of the orders by class and at random is, and every share of their
    batches. Empty where all are done, where attacks are missing, or where the data's own order (`sample` first) makes
    them no sample.

    Args:
        spec: what was planned.
        missing: attacks that did not run.
        verdicts: of the images that are done.
    """
    if missing or len(verdicts) == spec.n or spec.protocol["sample"] == "first":
        return {}
    interval = of_a_whole(verdicts.robust_accuracy()["held"], len(verdicts), spec.n)
    return {"of_all_planned": {"n": spec.n, "interval": list(interval)}}


def said_of_missing(
    spec: EvaluationSpec, missing: Sequence[str], verdicts: Verdicts, reason: str, due_of_audit: int | None
) -> list[str]:
    """Warnings that say what is missing, and what follows from that.

    Args:
        spec: what was planned.
        missing: attacks that did not run.
        verdicts: of the images that are done.
        reason: why something is missing, such as "time limit of 60 s"; may be empty.
        due_of_audit: the next part of an audit that has not come as far as was asked for.
    """
    incomplete = f"incomplete ({reason})" if reason else "incomplete"
    warnings = [f"{incomplete}: {len(verdicts):,} of {spec.n:,} planned images are evaluated"]
    whole = of_all_planned(spec, missing, verdicts).get("of_all_planned")
    if whole:
        low, high = (100 * end for end in whole["interval"])
        warnings[0] += f"; of all of them {low:.2f} to {high:.2f} % withstand these attacks, with 95 % confidence"
    elif len(verdicts) < spec.n and spec.protocol["sample"] == "first":
        warnings[0] += ", the first ones, which are no sample of the others; --sample by_class makes them one"
    if missing:
        warnings.append(
            f"{incomplete}: not run: {', '.join(missing)}; the robust accuracy is an upper bound of what the "
            "planned attacks would leave"
        )
    if due_of_audit is not None:
        warnings.append(f"{incomplete}: the audit has not come as far as was asked for")
    return warnings
