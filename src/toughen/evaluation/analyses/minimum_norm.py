"""The smallest perturbation that breaks each image."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toughen.attacks.hop_skip_jump import nearest_wrong
from toughen.evaluation.analyses.base import Analysis, AnalysisContext, at_least
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.verify import Clean
from toughen.extras import library
from toughen.models.inference import classes_of
from toughen.random_state import seeded
from toughen.threat import ThreatModel

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class MinimumNorm(Analysis):
    """The size of the smallest perturbation found for each image, by Foolbox's minimum-norm attacks.

    FMN (Pintor et al. 2021) in l-inf and l1, DDN (Rony et al. 2019) in l2, because the FMN of Foolbox 3.3.4 does not
    project in l2: on a linear model its perturbations are 3 to 17 times the smallest. FMN runs twice, from the image
    and from the nearest of 200 images that the model takes for another class (or 200 of noise), and the smaller result
    counts: from the image alone it can come to rest on the boundary, just short of breaking it.

    Every image that the library returns is cut to [0, 1] and classified again in fp32, and its norm is the threat
    model's. A norm is thus an upper bound of the smallest one; an image that is misclassified already has 0, and one
    for which nothing was found has none. A quantile is the smallest radius that breaks such a share of the images; none
    where that share was not broken.

    Args:
        images: how many of the evaluated images, drawn by class.
        steps: of each run; a step is a forward and a backward pass.

    Raises:
        ToughenError: foolbox is not installed.
    """

    def __init__(self, images: int = 200, steps: int = 100) -> None:
        at_least(1, images=images, steps=steps)
        library("foolbox", "foolbox")
        self.images = images
        self.steps = steps

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """A norm for each image, their quantiles, and what they say of the threat model's radius."""
        found, others = [], context.starting_points()
        for seed, clean in context.judged(self.images):
            with seeded(seed):
                found.append(self._smallest(context, clean, others).cpu())
        norms = torch.cat(found).numpy().astype(float)
        # Rounded before rounding up: 0.05 * 140 is 7.000000000000001.
        places = {share: math.ceil(round(share * len(norms), 9)) - 1 for share in _SHARES}
        sizes = {str(share): _known(np.sort(norms)[place]) for share, place in places.items()}
        limit = context.threat.radius + context.threat.slack(torch.empty(1, *context.images.shape))
        return {
            "attack": "DDN" if _by_ddn(context.threat) else "FMN",
            "library": "foolbox",
            "norm": context.threat.norm,
            "n": len(norms),
            "median": sizes["0.5"],
            "quantiles": sizes,
            "norms": [_known(norm) for norm in norms],
            "held_at_eps": figure(norms > limit),
        }

    def _smallest(self, context: AnalysisContext, clean: Clean, others: Tensor) -> Tensor:
        """The norm for each image of a batch, infinite where nothing was found."""
        images, labels, threat = clean.batch.images, clean.batch.labels, context.threat
        norms = torch.where(clean.right, math.inf, 0.0)
        rows = clean.right.nonzero().squeeze(1)
        runs: list[tuple[Tensor, Tensor | None]] = [(rows, None)]
        if not _by_ddn(threat):
            starts = nearest_wrong(context.model, images[rows], labels[rows], others, threat)
            runs.append((rows[starts >= 0], others[starts[starts >= 0]]))
        for some, starting_points in runs:
            if len(some):
                given = self._run(context, images[some], labels[some], starting_points).clamp(0, 1)
                wrong = classes_of(context.model, given) != labels[some]
                sizes = torch.where(wrong, threat.norm_of(given - images[some]), math.inf)
                norms[some] = torch.minimum(norms[some], sizes)
        return norms

    def _run(self, context: AnalysisContext, images: Tensor, labels: Tensor, starting_points: Tensor | None) -> Tensor:
        """What the library makes of some images."""
        foolbox, eagerpy, threat = library("foolbox", "foolbox"), library("eagerpy", "foolbox"), context.threat
        # The library warns of modules in train mode, which a fresh wrapper of the frozen model is.
        model = foolbox.PyTorchModel(context.model.eval(), bounds=(0, 1), device=context.device)
        broken = foolbox.criteria.Misclassification(eagerpy.astensor(labels))
        if _by_ddn(threat):
            return foolbox.attacks.DDNAttack(steps=self.steps, init_epsilon=threat.radius).run(model, images, broken)
        kind = getattr(foolbox.attacks, f"L{threat.norm[1:].capitalize()}FMNAttack")
        begin = None if starting_points is None else eagerpy.astensor(starting_points)
        try:
            return kind(steps=self.steps).run(model, images, broken, starting_points=begin)
        except AssertionError:
            # It asserts that its starting points are misclassified; those of a random model need not stay so.
            return images


def _by_ddn(threat: ThreatModel) -> bool:
    """DDN is of l2 alone."""
    return threat.norm == "l2"


def _known(value: float) -> float | None:
    """None where it is infinite, which JSON cannot say."""
    return float(value) if math.isfinite(value) else None
