"""Models whose slope vanishes at the border of the box of images, and only there."""

from collections.abc import Iterator

import torch

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.evaluation.preflight.slopes import slopes
from toughen.models.input_gradients import finite, inside
from toughen.random_state import seeded

_IMAGES = 8
_PIXELS = 0.25
_MANY = 0.01


def _find(context: PreflightContext) -> Iterator[Finding]:
    """A quarter of the pixels of 8 images are moved to 0 or 1: there the slope is 0 or none, and just inside it is not.

    A network's own rectifiers hardly ever turn within 1e-6; a clamp to [0, 1] or a root does at every such pixel.
    """
    if context.slopes.obstacle:
        return
    images = context.images[:_IMAGES]
    draws = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images.device)
    moved = draws < _PIXELS
    border = torch.where(moved, images.round(), images)
    found = []
    for points in (border, inside(border)):
        with seeded(0):
            found.append(finite(slopes(context.model, points, context.labels[:_IMAGES], context.batch_size).margin))
    flat = moved & (found[0] == 0) & (found[1] != 0)
    part = float(flat.sum()) / max(1, int(moved.sum()))
    if part > _MANY:
        yield Finding(
            "flat_border",
            "note",
            f"for {share(part)} of pixels that are exactly 0 or 1 the slope of the model is 0 or no number, and just "
            "inside it is not (a clamp, a root): attacks take the gradient 1e-6 inside; verdicts are of the images "
            "themselves",
            {"share": part},
        )


CHECK = PreflightCheck(115, _find)
