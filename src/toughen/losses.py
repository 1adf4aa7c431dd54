"""Building blocks that several methods and attacks share: a value for every image, in fp32 or better, from logits.

Logits are N x K, labels int64 (N,), results (N,). Probabilities are always taken through log-softmax, so logits of
any size, one-hot outputs and equal inputs give finite values and finite gradients.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from toughen.contracts import check_logits, check_target
from toughen.errors import InputError
from toughen.hardware.precision import at_least_fp32

LabelledLoss = Literal["ce", "margin", "dlr"]
"""A loss that an attack with labels may raise."""


def log_probabilities(logits: Tensor) -> Tensor:
    """`log softmax(logits)` over the classes, N x K."""
    return F.log_softmax(at_least_fp32(logits), dim=1)


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """`-sum_k t_k log p_k`; t is `target` where that holds probabilities (N, K), `one_hot(target)` where labels (N,).

    With smoothing s, t becomes `(1 - s) t + s / K`.

    >>> cross_entropy(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.6931])
    """
    check_target(logits, target)
    return F.cross_entropy(at_least_fp32(logits), target, reduction="none", label_smoothing=smoothing)


def kl(first: Tensor, second: Tensor) -> Tensor:
    """`KL(softmax(first) || softmax(second)) = sum_k p_k (log p_k - log q_k)`, of logits.

    >>> kl(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.])
    """
    check_logits(first, second)
    log_p, log_q = log_probabilities(first), log_probabilities(second)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def kl_to(target: Tensor) -> Callable[[Tensor], Tensor]:
    """`logits -> KL(softmax(target) || softmax(logits))` with all that hangs on the fixed target computed once."""
    log_p = log_probabilities(target.detach())
    p = log_p.exp()
    negative_entropy = (p * log_p).sum(dim=1)
    return lambda logits: negative_entropy - (p * log_probabilities(logits)).sum(dim=1)


def squared_error(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the classes of `(first - second)^2`; averaged over the batch it is torch's MSE.

    >>> squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.5000])
    """
    check_logits(first, second)
    return (at_least_fp32(first) - at_least_fp32(second)).square().mean(dim=1)


def lq_distance(first: Tensor, second: Tensor, q: float) -> Tensor:
    """`||first - second||_q` for q >= 1, with gradient 0 where both are equal.

    >>> lq_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]), q=2)
    tensor([5.])
    """
    if q < 1:
        raise InputError(f"q: expected a norm's order of at least 1, got {q}")
    check_logits(first, second)
    difference = at_least_fp32(first) - at_least_fp32(second)
    # The q-th root has an infinite slope at 0: rows that are all zero take no part in the gradient.
    zero = (difference == 0).all(dim=1, keepdim=True)
    safe = torch.where(zero, torch.ones_like(difference), difference)
    return torch.where(zero.squeeze(1), difference.abs().sum(dim=1), torch.linalg.vector_norm(safe, ord=q, dim=1))


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """`max_{k != y} z_k - z_y`: positive exactly where the image is misclassified (Carlini & Wagner 2017).

    >>> margin(torch.tensor([[2.0, 5.0]]), torch.tensor([0]))
    tensor([3.])
    """
    check_target(logits, labels)
    z = at_least_fp32(logits)
    true = z.gather(1, labels[:, None]).squeeze(1)
    others = z.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1) - true


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, `-(z_y - max_{k != y} z_k) / (z_(1) - z_(3))` (Croce & Hein 2020); from 3 classes."""
    if logits.shape[1] < 3:
        raise InputError(f"dlr: expected logits of at least 3 classes, got {logits.shape[1]}; use the margin loss")
    top = at_least_fp32(logits).topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


LABELLED: dict[LabelledLoss, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "margin": margin,
    "dlr": dlr,
}
"""The losses of `LabelledLoss` by name."""
