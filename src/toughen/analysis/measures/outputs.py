"""Distances and shapes of output distributions; logits are N x K, values (N,). KL and cross-entropy are in `losses`."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from toughen.losses import log_probabilities


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """`1/2 sum_k |p_k - q_k|` of the softmax of two logits, in [0, 1].

    >>> total_variation(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return (log_probabilities(first).exp() - log_probabilities(second).exp()).abs().sum(dim=1) / 2


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """`1/2 KL(p || m) + 1/2 KL(q || m)` with `m = (p + q) / 2`, in [0, log 2] (Lin 1991).

    >>> jensen_shannon(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]]))
    tensor([0.6931])
    """
    p, q = log_probabilities(first), log_probabilities(second)
    middle = torch.logaddexp(p, q) - math.log(2)
    divergence = sum(F.kl_div(middle, each, reduction="none", log_target=True).sum(dim=1) for each in (p, q))
    return torch.as_tensor(divergence) / 2


def entropy(logits: Tensor) -> Tensor:
    """`-sum_k p_k log p_k` in nats, in [0, log K].

    >>> entropy(torch.zeros(1, 2))
    tensor([0.6931])
    """
    log_p = log_probabilities(logits)
    return -(log_p.exp() * log_p).sum(dim=1)


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """`sum_k (p_k - 1[k = y])^2`, in [0, 2] (Brier 1950): lowest in expectation for the true probabilities.

    >>> brier(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.5000])
    """
    p = log_probabilities(logits).exp()
    return (p - F.one_hot(labels, p.shape[1])).square().sum(dim=1)


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """`sum_b n_b / n |accuracy_b - confidence_b|` over bins of equal mass, in [0, 1]; 0 where confidence is accuracy.

    The images are ordered by the predicted class's probability and cut into bins of as many images each. Source:
    Nguyen & O'Connor, Posterior Calibration and Exploratory Analysis for NLP Models, 2015. Bins of equal width (Guo et
    al. 2017, in a run's report) hold hardly any image where a network is never sure. Of few images it is too large.

    Args:
        logits: N x K.
        labels: int64, (N,).
        bins: how many; at most one an image.

    >>> round(calibration_error(torch.tensor([[0.0, 9.0], [0.0, 9.0]]), torch.tensor([1, 0])), 3)
    0.5
    """
    confidence, predicted = log_probabilities(logits).exp().max(dim=1)
    order = confidence.argsort(stable=True)
    gap = (predicted == labels).double()[order] - confidence.double()[order]
    return sum(abs(float(each.sum())) for each in gap.tensor_split(min(bins, len(gap)))) / len(gap)


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """`p_y - max_{k != y} p_k`, in [-1, 1]: negative where the image is misclassified.

    >>> probability_margin(torch.tensor([[0.0, 0.0, -100.0]]), torch.tensor([2]))
    tensor([-0.5000])
    """
    p = log_probabilities(logits).exp()
    others = p.scatter(1, labels[:, None], -1.0).amax(dim=1)
    return p.gather(1, labels[:, None]).squeeze(1) - others
