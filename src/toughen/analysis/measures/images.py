"""How methods weigh images, and which images runs fail on together."""

from typing import Literal

import torch
from torch import Tensor

from toughen.analysis.measures.outputs import probability_margin
from toughen.losses import cross_entropy

Weighting = Literal["arow", "cow", "mart", "margin", "uniform"]


def image_weights(clean: Tensor, perturbed: Tensor, labels: Tensor, weighting: Weighting) -> Tensor:
    """`weights_by`, scaled to mean 1, (N,).

    >>> image_weights(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([0, 1]), "arow")
    tensor([1., 1.])
    """
    weights = weights_by(weighting, labels, perturbed, clean)
    total = weights.mean()
    return weights / total if total > 0 else torch.ones_like(weights)


def weights_by(weighting: Weighting, labels: Tensor, perturbed: Tensor, clean: Tensor) -> Tensor:
    """The weight that a method gives each image's regulariser, in [0, 1], (N,).

    - arow: `1 - p_f(x')_y` (Yang et al. 2023)
    - cow: `p_f(x)_y`, its ablation
    - mart: `1 - p_f(x)_y` (Wang et al. 2020)
    - margin: `sigmoid(-10 (p_f(x')_y - max_{k != y} p_f(x')_k))`, the form of MAIL (Liu et al. 2021), whose slope and
      bias are settings; here the bias is 0
    - uniform: 1, as TRADES

    >>> weights_by("margin", torch.tensor([0]), torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.5000])
    """
    match weighting:
        case "arow":
            return 1 - _of_label(perturbed, labels)
        case "cow":
            return _of_label(clean, labels)
        case "mart":
            return 1 - _of_label(clean, labels)
        case "margin":
            return torch.sigmoid(-10 * probability_margin(perturbed, labels))
        case "uniform":
            return torch.ones_like(_of_label(perturbed, labels))


def _of_label(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.exp(-cross_entropy(logits, labels))


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
