"""Attacks that see no gradient must not break what the gradient attacks left."""

import numpy as np

from toughen.evaluation.checks import Check
from toughen.evaluation.evidence import Evidence, Judgement, more_than_chance, of


def judge(evidence: Evidence) -> Judgement:
    """It fails where Square and transferred images break more of what the gradient attacks left than chance would."""
    names = evidence.black_box
    if not names or not evidence.white_box:
        return Judgement(
            None, "there was no attack without gradients; --budget standard has one, and so has --transfer"
        )
    gradient = np.logical_or.reduce([evidence.broken_by_gradient(name) for name in evidence.white_box])
    broken = {name: evidence.broken_without_gradient(name) & ~gradient for name in names}
    count, n = int(np.logical_or.reduce(list(broken.values())).sum()), len(gradient)
    failed = more_than_chance(count, n)
    said = f"attacks without gradients break {of(count, n)} that the gradient attacks left"
    figures = {"broken": {name: int(rows.sum()) for name, rows in broken.items()}, "together": count, "n": n}
    return Judgement(not failed, said + (": the gradient hides them" if failed else ""), figures)


CHECK = Check("black_box_never_wins", 70, "Attacks without gradients break nothing that the others left", judge)
