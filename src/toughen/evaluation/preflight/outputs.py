"""Outputs that are no logits: NaN, and probabilities."""

from collections.abc import Iterator

from toughen.evaluation.checks.doubts import NAN
from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.models.build import PROBABILITIES, looks_like_probabilities


def _find(context: PreflightContext) -> Iterator[Finding]:
    """Attacks need logits, and a number for each class."""
    wrong = int((~context.logits.isfinite()).any(dim=1).sum())
    if wrong:
        part = wrong / len(context)
        yield Finding(
            "nan",
            "doubt",
            f"{NAN}: {wrong} of {len(context)} ({share(part)}); look for a division by zero, a logarithm of zero or an "
            "overflow in the forward pass",
            {"share": part, "n": len(context)},
        )
    if looks_like_probabilities(context.logits):
        yield Finding("probabilities", "doubt", PROBABILITIES, {"n": len(context)})


CHECK = PreflightCheck(60, _find)
