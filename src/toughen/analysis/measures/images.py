"""How methods weigh images, and which images runs fail on together."""

from typing import Literal

import torch
from torch import Tensor

from toughen.losses import cross_entropy

Weighting = Literal["arow", "cow", "mart", "uniform"]


def image_weights(clean: Tensor, perturbed: Tensor, labels: Tensor, weighting: Weighting) -> Tensor:
    """The weight that a method gives each image's regulariser, scaled to mean 1, (N,).

    - arow: `1 - p_f(x')_y` (Yang et al. 2023)
    - cow: `p_f(x)_y`, its ablation
    - mart: `1 - p_f(x)_y` (Wang et al. 2020)
    - uniform: 1, as TRADES

    >>> image_weights(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([0, 1]), "arow")
    tensor([1., 1.])
    """
    true_clean, true_perturbed = (torch.exp(-cross_entropy(each, labels)) for each in (clean, perturbed))
    weights = {
        "arow": 1 - true_perturbed,
        "cow": true_clean,
        "mart": 1 - true_clean,
        "uniform": torch.ones_like(true_clean),
    }[weighting]
    total = weights.mean()
    return weights / total if total > 0 else torch.ones_like(weights)


def effective_share(weights: Tensor) -> float:
    """`(sum w)^2 / (N sum w^2)`, in (0, 1]: the share of images that a weighted mean counts (Kish 1965).

    >>> effective_share(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    0.5
    """
    w = weights.double()
    return float(w.sum().square() / (len(w) * w.square().sum()))


def overlap(first: Tensor, second: Tensor) -> float:
    """`|A and B| / |A or B|` of two sets of images, as boolean masks, in [0, 1] (Jaccard 1901); 1 where both are empty.

    >>> overlap(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
    0.3333333333333333
    """
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0
