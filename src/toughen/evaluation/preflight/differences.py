"""The gradient held against what the model does: central differences in random directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.slopes import slopes
from toughen.hardware.precision import at_least_fp32
from toughen.losses import margin
from toughen.models.input_gradients import finite
from toughen.random_state import seeded

_IMAGES = 16
_DIRECTIONS = 8
# Relative to the radius: a step of PGD-20, and a tenth of it, where hardly a rectifier turns.
_LONG, _SHORT = 1 / 8, 1 / 80
# Relative to the spread of the logits: what rounding in fp32 may move a margin by, and what is too little to be judged.
_ROUNDING, _LITTLE = 2e-5, 1e-4


@dataclass(frozen=True)
class Differences:
    """How far the gradient is from the differences, a number an image, (M,); NaN where rounding would decide.

    0 where they agree; 0.5 where half of the gradient's square is missing; 1 for a gradient that has nothing to do
    with the model; more where it points the other way.

    Attributes:
        long: over a step of an attack.
        short: over a tenth of it.
    """

    long: Tensor
    short: Tensor

    @property
    def smaller(self) -> Tensor:
        """The smaller of the two."""
        return torch.fmin(self.long, self.short)


def differences(context: PreflightContext) -> Differences:
    """For a few images x and directions u, the margin's `m(x + u) - m(x - u)` against `2 g(x) u`.

    Of each image `sum (m(x + u) - m(x - u) - 2 g u)^2 / sum max(|m(x + u) - m(x - u)|, |2 g u|)^2`, where an error that
    rounding explains counts as 0. Images are moved inside [0, 1] by the length of u first, so that x + u and x - u
    are images, and the gradient is of the point between them. On digits, random weights and three norms a sound
    network has at most 0.05 in the median over a long step, and 0.03 over a short one.
    """
    return Differences(_disagreement(context, _LONG, coarse=True), _disagreement(context, _SHORT, coarse=False))


def _disagreement(context: PreflightContext, length: float, coarse: bool) -> Tensor:
    """Over steps of one length; where `coarse`, of at least 1/255, for models that round their images to 8 bits."""
    images, labels = context.images[:_IMAGES], context.labels[:_IMAGES]
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(images.shape, generator=generator).to(images) for _ in range(_DIRECTIONS)]
    units = [context.threat.radius * context.threat.steepest(draw, images) for draw in draws]
    reach = max(float(unit.abs().amax()) for unit in units)
    if coarse:
        length = min(1.0, max(length, 1 / 255 / reach))
    between = images.clamp(min(length * reach, 0.5), max(1 - length * reach, 0.5))
    with seeded(0):
        gradient = finite(slopes(context.model, between, labels, context.batch_size).margin)
    error, size = torch.zeros(len(images)).to(images), torch.zeros(len(images)).to(images)
    for unit in units:
        ends = [margin(at_least_fp32(context.outputs(between + sign * length * unit)), labels) for sign in (1, -1)]
        moved, promised = ends[0] - ends[1], 2 * length * (gradient * unit).flatten(1).sum(1)
        error += ((moved - promised).abs() - _ROUNDING * context.spread).clamp(min=0) ** 2
        size += torch.maximum(moved.abs(), promised.abs()) ** 2
    enough = size > _DIRECTIONS * (_LITTLE * max(context.spread, 1e-30)) ** 2
    seen = (gradient.flatten(1) != 0).any(dim=1)
    return torch.where(enough & seen, error / size, torch.nan)
