"""What a model gives for a few images, kept with its verdicts: whether they may still be used."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_IMAGES = 8
_DIRECTIONS = 16
_LOGITS = 1e-3
_GRADIENTS = 2e-2


def probe(logits: Tensor, gradients: Tensor) -> dict[str, list[list[float]]]:
    """Logits of at most 8 images, evenly spread, and their input gradients along 16 fixed random directions.

    Args:
        logits: N x K.
        gradients: M x C x H x W, of the margin, for the first M of these images.
    """
    chosen = torch.linspace(0, len(gradients) - 1, min(_IMAGES, len(gradients))).round().long().to(logits.device)
    flat = gradients[chosen].flatten(1).double().cpu()
    directions = torch.randn(flat.shape[1], _DIRECTIONS, generator=torch.Generator().manual_seed(0)).double()
    return {"logits": logits[chosen].double().cpu().tolist(), "gradients": (flat @ directions).tolist()}


def of_own_draws() -> dict[str, bool]:
    """Of a model whose random numbers are not torch's, such as NumPy's: no two processes see it give the same."""
    return {"own_draws": True}


def what_changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Logits, input gradients, or nothing: which of the two differ by more than machines round differently.

    Logits by more than 0.1 % of the largest one's size, gradients by more than 2 % (a few rectifiers may flip). An
    evaluation of which nothing is known to compare with is taken for another one. Of a model that draws its own random
    numbers (see `of_own_draws`), whichever of the two showed it, nothing can be said, and its key alone decides.

    >>> what_changed({"logits": [[1.0, 2.0]]}, {"logits": [[1.0, 2.1]]})
    'logits'
    """
    if now.get("own_draws") or before.get("own_draws"):
        return ""
    for name, tolerance in (("logits", _LOGITS), ("gradients", _GRADIENTS)):
        if _differ(now.get(name, []), before.get(name, []), tolerance):
            return {"logits": "logits", "gradients": "input gradients"}[name]
    return ""


def _differ(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], tolerance: float) -> bool:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        return True
    usable = np.abs(one[np.isfinite(one)])
    return not np.allclose(one, two, rtol=0.0, atol=tolerance * float(usable.max(initial=0.0)), equal_nan=True)
