"""Logits so far apart that cross-entropy has no gradient, and logits that are cut off."""

from collections.abc import Iterator

import torch
from torch import Tensor

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck, share
from toughen.models.build import looks_like_probabilities

_MANY = 0.05


def _find(context: PreflightContext) -> Iterator[Finding]:
    """Softmax probabilities that are 1 in fp32, and largest or smallest logits that images share to the last bit."""
    logits = context.usable
    if len(logits) and not looks_like_probabilities(logits):
        yield from _saturated(logits)
        yield from _clipped(logits)


def _saturated(logits: Tensor) -> Iterator[Finding]:
    """`softmax - one_hot`, cross-entropy's gradient, is zero where the second probability underflows."""
    top = logits.softmax(dim=1).topk(2, dim=1).values
    ones = float((top[:, 0] == 1).float().mean())
    gone = float((top[:, 1] < torch.finfo(top.dtype).tiny).float().mean())
    gaps = logits.topk(2, dim=1).values
    gap = float((gaps[:, 0] - gaps[:, 1]).median())
    figures = {"probability_1": ones, "underflow": gone, "median_gap": gap, "n": len(logits)}
    if gone > _MANY:
        yield Finding(
            "saturated_logits",
            "doubt",
            f"the gradient of the cross-entropy underflows for {share(gone)} of {len(logits)} images (the two largest "
            f"logits are {gap:.3g} apart in the median): attacks on it, such as FGSM and PGD, are blind there and "
            "flatter; divide the logits by a temperature, which changes no decision, or trust only AutoAttack (budget "
            "standard)",
            figures,
        )
    elif ones > _MANY:
        yield Finding(
            "saturated_logits",
            "note",
            f"the largest probability is exactly 1 in float32 for {share(ones)} of {len(logits)} images: attacks on "
            "cross-entropy are weak there; the margin and DLR losses of the budgets are not",
            figures,
        )


def _clipped(logits: Tensor) -> Iterator[Finding]:
    if bool((logits == logits[0]).all()):  # outputs without any difference are no clipping
        return
    top = logits.amax(dim=1)
    # Log-probabilities of confident images all end at 0.
    if not bool((logits.logsumexp(dim=1).abs() < 1e-4).all()) and _shared(top, bound := float(top.max())):
        yield _at_the_bound("largest", bound, top, "never more")
        return
    # A class that is the same for all images was masked.
    bottom = logits[:, (logits != logits[0]).any(dim=0)].amin(dim=1)
    if _shared(bottom, bound := float(bottom.min())):
        yield _at_the_bound("smallest", bound, bottom, "never less (as after a ReLU)" if bound == 0 else "never less")


def _shared(values: Tensor, bound: float) -> bool:
    part = float((values == bound).float().mean())
    return part > _MANY and part * len(values) >= 3


def _at_the_bound(which: str, bound: float, values: Tensor, rest: str) -> Finding:
    part = float((values == bound).float().mean())
    return Finding(
        "clipped_logits",
        "doubt",
        f"the {which} logit is exactly {bound:.6g} for {share(part)} of {len(values)} images, and {rest}: logits "
        "are clipped and have no gradient beyond the bound; evaluate the model without the clipping",
        {"bound": bound, "share": part, "n": len(values)},
    )


CHECK = PreflightCheck(100, _find)
