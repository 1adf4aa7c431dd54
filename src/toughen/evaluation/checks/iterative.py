"""Several gradient steps must break more than one."""

import numpy as np

from toughen.evaluation.checks import Check
from toughen.evaluation.checks.evidence import CheckResult, Evidence, holds_more, of
from toughen.evaluation.statistics.intervals import mcnemar


def _judge(evidence: Evidence) -> CheckResult:
    """It fails where the iterative attacks together leave significantly more images than the single step."""
    single, several = evidence.single_step, evidence.iterative
    if not single or not several:
        missing = "of one step" if not single else "of several steps that sees all images"
        return CheckResult(None, f"there was no gradient attack {missing}")
    clean = evidence.verdicts.held("clean")
    one = clean & ~np.logical_or.reduce([evidence.broken_by_gradient(name) for name in single])
    many = clean & ~np.logical_or.reduce([evidence.broken_by_gradient(name) for name in several])
    failed, n = holds_more(one, many), len(clean)
    said = f"one step leaves {of(int(one.sum()), n)}, several leave {of(int(many.sum()), n)}"
    figures = {"single_step": int(one.sum()), "iterative": int(many.sum()), "n": n, "p": mcnemar(one, many)}
    return CheckResult(
        not failed, said + (": the gradient misleads an attack that follows it" if failed else ""), figures
    )


CHECK = Check("iterative_beats_single_step", 10, "Several steps break at least as much as one", _judge)
