"""Robustness to an attacker who sees nothing but the predicted class."""

from typing import Any

import numpy as np
import torch

from toughen.attacks.base import PlannedAttack
from toughen.attacks.hop_skip_jump import HopSkipJump
from toughen.evaluation.analyses.base import Analysis, AnalysisContext, at_least
from toughen.evaluation.records.verdicts import figure
from toughen.evaluation.verify import judge
from toughen.extras import library

# HopSkipJump holds a few hundred images for each image that it attacks.
_PIXELS_AT_ONCE = 2**17


class DecisionBased(Analysis):
    """Accuracy under HopSkipJump (Chen et al. 2020), which sees only the predicted class of what it asks for.

    An attack that uses no gradient and no logits is not deceived by masked ones: where it breaks images that gradient
    attacks left, these failed. That it breaks fewer says nothing, for it needs many queries. In l1, which Foolbox's
    attack does not know, it minimises the l2 norm, and finds less.

    Each image starts from the nearest of 200 images, drawn by class from the split, that the model classifies
    otherwise, or of as many images of noise.

    Args:
        images: how many of the evaluated images, drawn by class.
        queries: for each image; as many as Square's in AutoAttack.

    Raises:
        ToughenError: foolbox is not installed.
    """

    def __init__(self, images: int = 20, queries: int = 5000) -> None:
        at_least(1, images=images, queries=queries)
        library("foolbox", "foolbox")
        self.images = images
        self.queries = queries

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """The figure under the attack."""
        attack = PlannedAttack(
            "hop_skip_jump", HopSkipJump(self.queries, context.starting_points()), survivors_only=True
        )
        size = max(1, min(context.batch_size, _PIXELS_AT_ONCE // context.images.images.take(torch.tensor([0])).numel()))
        batches = context.judged(self.images, size)
        outcomes = [judge(context.model, clean, attack, context.threat, seed=seed) for seed, clean in batches]
        held = np.concatenate([outcome.held.numpy() for outcome in outcomes])
        doubts = list(dict.fromkeys(doubt for outcome in outcomes for doubt in outcome.warnings))
        facts = {
            "attack": "HopSkipJump",
            "library": "foolbox",
            "norm": context.threat.norm,
            "eps": context.threat.radius,
        }
        return {**facts, "queries": self.queries, **figure(held), "warnings": doubts}
