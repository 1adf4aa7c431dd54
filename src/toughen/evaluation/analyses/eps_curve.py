"""Accuracy against eps."""

import math
from typing import Any

import numpy as np
import scipy
import torch

from toughen.attacks.budgets import search
from toughen.evaluation.analyses.base import Analysis, AnalysisContext, at_least
from toughen.evaluation.analyses.shares import mean_share
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.verify import judge
from toughen.numbers import check_number
from toughen.threat import ThreatModel


class EpsCurve(Analysis):
    """Accuracy at radii from 0 to twice the threat model's, and the area below that curve.

    PGD on the margin loss (in l1 APGD; see `search`) attacks the same images at every radius, the smallest first. An
    image that is broken at one radius counts as broken at every larger one, whose ball contains that perturbation, and
    is not attacked again: the curve never rises. Like every figure of an attack it is an upper bound; AutoAttack may
    break more.

    The area is the mean accuracy over all radii up to the largest, `1 / eps_max * integral of accuracy d eps` by the
    trapezoid rule. Its interval is that of the mean over images of each image's own area; see `mean_share`.

    Args:
        points: radii, evenly spaced from 0; the threat model's own is added where it is not among them.
        reach: the largest radius in multiples of the threat model's; l-inf ends below 1.
        images: how many of the evaluated images, drawn by class.
        steps: of the attack at each radius.
        restarts: of the attack.
    """

    def __init__(
        self, points: int = 9, reach: float = 2.0, images: int = 200, steps: int = 20, restarts: int = 2
    ) -> None:
        at_least(2, points=points)
        check_number("reach", reach, "", least=1)
        at_least(1, images=images, steps=steps, restarts=restarts)
        self.points = points
        self.reach = reach
        self.images = images
        self.steps = steps
        self.restarts = restarts

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """The curve's points, each a figure, and the area."""
        radii = self.radii(context.threat)
        attack = search(context.threat.norm, self.steps, self.restarts)
        batches = []
        for seed, clean in context.judged(self.images):
            left = [clean.right.cpu()]
            for eps in radii[1:]:
                threat = ThreatModel(context.threat.norm, eps)
                left.append(judge(context.model, clean, attack, threat, seed=seed, survivors=left[-1]).held)
            batches.append(torch.stack(left))
        held = torch.cat(batches, dim=1).numpy()
        area = mean_share(scipy.integrate.trapezoid(held.astype(float), radii, axis=0) / radii[-1])
        return {
            "attack": attack.name,
            "norm": context.threat.norm,
            "points": [{"eps": eps, **figure(row)} for eps, row in zip(radii, held, strict=True)],
            "area": area["accuracy"],
            "area_interval": area["interval"],
        }

    def radii(self, threat: ThreatModel) -> list[float]:
        """The radii of the curve, from 0 on.

        >>> EpsCurve(points=4, reach=1.5).radii(ThreatModel("l2", 0.5))
        [0.0, 0.25, 0.5, 0.75]
        """
        even = [float(eps) for eps in np.linspace(0, threat.scaled(self.reach).radius, self.points)]
        known = any(math.isclose(eps, threat.radius) for eps in even)
        exact = [threat.radius if math.isclose(eps, threat.radius) else eps for eps in even]
        return exact if known else sorted([*exact, threat.radius])
