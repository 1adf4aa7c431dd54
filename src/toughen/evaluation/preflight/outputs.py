"""Outputs that are no logits: NaN, and probabilities."""

from collections.abc import Iterator

from toughen.evaluation.checks.doubts import NAN
from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.models.build import PROBABILITIES, looks_like_probabilities


def _find(subject: PreflightContext) -> Iterator[Finding]:
    """Attacks need logits, and a number for each class."""
    wrong = int((~subject.logits.isfinite()).any(dim=1).sum())
    if wrong:
        part = wrong / len(subject)
        yield Finding(
            "nan",
            "doubt",
            f"{NAN}: {wrong} of {len(subject)} ({share(part)}); look for a division by zero, a logarithm of zero or an "
            "overflow in the forward pass",
            {"share": part, "n": len(subject)},
        )
    if looks_like_probabilities(subject.logits):
        yield Finding("probabilities", "doubt", PROBABILITIES, {"n": len(subject)})


CHECK = PreflightCheck(60, _find)
