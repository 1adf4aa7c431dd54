"""Images without a gradient, models without one, and gradients that are not the model's."""

from collections.abc import Iterator

import torch
from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.differences import differences
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.evaluation.preflight.slopes import Slopes
from toughen.hardware.precision import at_least_fp32
from toughen.losses import margin
from toughen.models.input_gradients import finite

_INSTEAD = (
    "attacks that use none say more: Square with 20,000 queries (budget thorough), transfer from a model without the "
    "obstacle, decision-based attacks"
)
_MANY = 0.05
_DISAGREE = 0.2
# A step of PGD-20, and a tenth of it: 8-bit images that pass their gradient on straight agree at the first.
_STEPS = (1 / 8, 1 / 80)
# Of `Differences`, near and far: sound networks have at most 0.12 and 0.05.
_FAR, _ROUGH = 0.25, 0.5


def _find(context: PreflightContext) -> Iterator[Finding]:
    """No gradient at all; zero or not finite for both losses; or one that says nothing of what the model does.

    Whether it does is asked along the gradient, and then in random directions.
    """
    found = context.slopes
    if found.obstacle:
        yield Finding(
            "not_differentiable",
            "doubt",
            f"the model cannot be differentiated ({found.obstacle}): gradient attacks are blind, and only what Square "
            f"finds counts; {_INSTEAD}",
            {"reason": found.obstacle},
        )
        return
    if found.once:
        yield Finding(
            "one_gradient_a_pass",
            "note",
            "the model gives one gradient a pass only (it is compiled, or frees what it needs): each gradient of an "
            "attack makes a pass of its own, which takes longer and says the same",
        )
    n = int(found.judged.sum())
    if not n:
        return
    blind = {name: _blind(getattr(found, name)) & found.judged for name in ("ce", "margin")}
    both = blind["ce"] & blind["margin"]
    shares = {name: float(rows.sum()) / n for name, rows in {**blind, "both": both}.items()}
    if shares["both"] > _MANY:
        yield Finding(
            "zero_gradients",
            "doubt",
            f"the gradient of cross-entropy and of the margin is zero or not finite for {share(shares['both'])} of {n} "
            f"images: gradient attacks are blind there; rounding, clipping or a step function hides it; {_INSTEAD}",
            {**shares, "n": n},
        )
    partly = ~found.margin.flatten(1).isfinite().all(dim=1) & found.judged
    if bool(partly.any()):
        part = float(partly.sum()) / n
        yield Finding(
            "gradients_not_finite",
            "doubt",
            f"the gradient is infinite or no number in some pixels of {share(part)} of {n} images (a root or a "
            f"logarithm at 0, 0 times infinity): these pixels count as 0, and attacks do not move them; {_INSTEAD}",
            {"share": part, "n": n},
        )
    if not context.random:
        along = list(_false(context, found, ~blind["margin"] & found.judged))
        yield from along or _astray(context)


def _blind(gradient: Tensor) -> Tensor:
    return (finite(gradient).flatten(1) == 0).all(dim=1)


def _false(context: PreflightContext, slopes: Slopes, rows: Tensor) -> Iterator[Finding]:
    """A step up the gradient must raise the margin by a tenth of what the gradient promises, at one length of two."""
    images, gradient = slopes.images[rows], finite(slopes.margin[rows])
    labels, before = slopes.labels[rows], slopes.margins[rows]
    clear, kept = torch.zeros(len(images), dtype=torch.bool, device=images.device), torch.zeros_like(before)
    for length in _STEPS:
        direction = context.threat.steepest(gradient, images)
        moved = context.threat.project(images + length * context.threat.radius * direction, images)
        promised = (gradient * (moved - images)).flatten(1).sum(1)
        risen = margin(at_least_fp32(context.outputs(moved)), labels) - before
        # Below this, fp32 rounding decides.
        certain = promised > 1e-4 * max(context.spread, 1e-30)
        clear |= certain
        kept = torch.where(certain, torch.maximum(kept, risen / promised), kept)
    n = int(clear.sum())
    wrong = int((clear & (kept < 0.1)).sum())
    if n < 4 or wrong <= _DISAGREE * n:
        return
    yield Finding(
        "false_gradients",
        "doubt",
        f"for {wrong} of {n} images ({share(wrong / n)}) a small step up the gradient does not raise the loss as it "
        "should: the gradient is not the model's own (a rounded input, a gradient made by hand) and leads attacks "
        f"astray; {_INSTEAD}",
        {"share": wrong / n, "n": n},
    )


def _astray(context: PreflightContext) -> Iterator[Finding]:
    """In random directions the gradient must promise what the model does, nearby and over a step of an attack."""
    found = differences(context)
    smaller = found.smaller[~found.smaller.isnan()]
    n, wrong = len(smaller), int((smaller > _FAR).sum())
    if n >= 4 and wrong > _DISAGREE * n:
        yield Finding(
            "false_gradients",
            "doubt",
            f"for {wrong} of {n} images ({share(wrong / n)}) the gradient does not promise what the model does in "
            f"random directions: it is not the model's own (dropped in part, with noise added, another network's); "
            f"{_INSTEAD}",
            {"share": wrong / n, "n": n},
        )
        return
    long = found.long[~found.long.isnan()]
    n, rough = len(long), int((long > _ROUGH).sum())
    if n >= 4 and rough > n / 2:
        yield Finding(
            "rough_gradients",
            "doubt",
            f"for {rough} of {n} images ({share(rough / n)}) the gradient says nothing of what the model does as far "
            f"away as one step of an attack: the logits are rugged (fast waves, jumps, k-WTA) and lead attacks astray; "
            f"{_INSTEAD}",
            {"share": rough / n, "n": n},
        )


CHECK = PreflightCheck(110, _find)
