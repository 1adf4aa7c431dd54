"""Robustness to the norms that the model was not evaluated in."""

from typing import Any, get_args

import numpy as np

from toughen.attacks.budgets import search
from toughen.errors import InputError
from toughen.evaluation.analyses.base import Analysis, AnalysisContext, at_least
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.verify import judge
from toughen.numbers import Number
from toughen.threat import Norm, ThreatModel


class OtherNorms(Analysis):
    """Accuracy under gradient attacks in the norms other than the threat model's.

    Training against one norm protects little against another (Tramer & Boneh 2019). The radii are RobustBench's for
    CIFAR-10, as in `ThreatModel`: 8/255 for l-inf, 0.5 for l2, 12 for l1. On images of another size the last two say
    little; give radii of your own.

    Args:
        eps: radii by norm in place of the customary ones, such as {l2: 0.3}.
        images: how many of the evaluated images, drawn by class.
        steps: of the attack: PGD on the margin loss, in l1 APGD; see `search`.
        restarts: of the attack.
    """

    def __init__(
        self, eps: dict[str, Number] | None = None, images: int = 200, steps: int = 50, restarts: int = 2
    ) -> None:
        at_least(1, images=images, steps=steps, restarts=restarts)
        unknown = set(eps or {}) - set(get_args(Norm))
        if unknown:
            raise InputError(f"eps: expected radii by norm ({', '.join(get_args(Norm))}), got {', '.join(unknown)}")
        self.eps = eps
        self.images = images
        self.steps = steps
        self.restarts = restarts
        self._threats = [ThreatModel(norm, (eps or {}).get(norm)) for norm in get_args(Norm)]

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """A figure for each other norm."""
        rows = []
        for threat in self._threats:
            if threat.norm == context.threat.norm:
                continue
            attack, batches = search(threat.norm, self.steps, self.restarts), context.judged(self.images)
            held = [judge(context.model, clean, attack, threat, seed=seed).held.numpy() for seed, clean in batches]
            row = {"norm": threat.norm, "eps": threat.radius, "attack": attack.name}
            rows.append({**row, **figure(np.concatenate(held))})
        return {"rows": rows}
