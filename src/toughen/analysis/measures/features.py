"""What features say of the classes: separation, usefulness, likeness, dimension. Features are N x D, in any scale."""

import math

import numpy as np
import torch
from torch import Tensor


def fisher_ratio(features: Tensor, labels: Tensor) -> float:
    """`tr(S_B) / tr(S_W)`: scatter of the class means over scatter within the classes; at least 0 (Fisher 1936).

    Invariant to rotation, shift and scale of all features together. Infinite where no class has any spread.

    >>> fisher_ratio(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), torch.tensor([0, 0, 1, 1]))
    25.0
    """
    x = features.double()
    centre, between, within = x.mean(dim=0), 0.0, 0.0
    for label in labels.unique():
        own = x[labels == label]
        between += len(own) * float((own.mean(dim=0) - centre).square().sum())
        within += float((own - own.mean(dim=0)).square().sum())
    return between / within if within else math.inf if between else 0.0


def prototype_distances(features: Tensor, labels: Tensor) -> Tensor:
    """Euclidean distance of each image's features to the mean of its class, the class's prototype, (N,), at least 0.

    Snell, Swersky, Zemel, Prototypical Networks for Few-shot Learning, 2017. In units of the root mean square of all of
    them, so that networks can be compared: small is typical, large an outlier.

    >>> prototype_distances(torch.tensor([[0.0], [2.0], [5.0], [9.0]]), torch.tensor([0, 0, 1, 1])).square()
    tensor([0.4000, 0.4000, 1.6000, 1.6000], dtype=torch.float64)
    """
    x, found = features.double(), torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for label in labels.unique():
        own = labels == label
        found[own] = (x[own] - x[own].mean(dim=0)).norm(dim=1)
    scale = found.square().mean().sqrt()
    return found / scale if scale > 0 else found


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of two features of the same images, in [0, 1] (Kornblith et al. 2019).

    `|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F)` of centred X and Y. 1 for features that are equal up to rotation, shift and
    scale. The numbers of features may differ; that of the images should be well above both, else it is high by chance.

    Not a number where a feature is constant over the images.
    """
    x, y = (each.double() - each.double().mean(dim=0) for each in (first, second))
    # The smaller of D x D and N x N products gives the same norms.
    if len(x) < max(x.shape[1], y.shape[1]):
        k, m = x @ x.T, y @ y.T
        shared, own = float((k * m).sum()), float(k.norm() * m.norm())
    else:
        shared, own = float((y.T @ x).square().sum()), float((x.T @ x).norm() * (y.T @ y).norm())
    return min(1.0, shared / own) if own else math.nan


def usefulness(features: Tensor, labels: Tensor, perturbed: Tensor) -> tuple[Tensor, Tensor]:
    """How useful each feature is for the class that it says most of, clean and under attack: (D,) each.

    Ilyas et al. 2019: a feature f of mean 0 and variance 1 is rho-useful where `rho = E[y f(x)] > 0`, and
    gamma-robustly useful where `gamma = E[inf_d y f(x + d)]`. Here y is the indicator of a class, scaled to mean 0 and
    variance 1, so that rho is the correlation of feature and class, in [0, 1] with the sign chosen for it; gamma takes
    the given perturbation in place of the infimum (features scaled as the clean ones), so it is an upper bound.

    Args:
        features: of the images, N x D.
        labels: int64, (N,).
        perturbed: features of the perturbed images, N x D.
    """
    x = features.double()
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    alive = std > 0
    scale = torch.where(alive, std, 1)
    classes = labels.unique()
    y = (labels[:, None] == classes).double()
    spread = y.std(dim=0, correction=0)
    y = (y - y.mean(dim=0)) / torch.where(spread > 0, spread, 1)
    clean = ((x - mean) / scale).T @ y / len(x)
    after = ((perturbed.double() - mean) / scale).T @ y / len(x)
    chosen = clean.abs().argmax(dim=1, keepdim=True)
    sign = clean.gather(1, chosen).sign()
    return (sign * clean.gather(1, chosen)).squeeze(1) * alive, (sign * after.gather(1, chosen)).squeeze(1) * alive


def disentanglement(importance: Tensor) -> float:
    """The disentanglement score of Eastwood & Williams 2018 (DCI), in [0, 1]: 1 where each feature serves one class.

    `sum_i rho_i (1 - H_K(P_i))`: `P_i` is row i of the importances scaled to sum 1, `H_K` its entropy to base K, and
    `rho_i` the row's share of all importance.

    Args:
        importance: at least 0, D x K, such as the absolute weights of a sparse linear probe of standardised features;
            K at least 2.

    >>> disentanglement(torch.eye(3)), disentanglement(torch.ones(2, 3))
    (1.0, 0.0)
    """
    rows = importance.double()
    total = rows.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, rows / torch.where(total > 0, total, 1), 1 / rows.shape[1])
    uncertainty = -torch.special.xlogy(shares, shares).sum(dim=1) / math.log(rows.shape[1])
    weight = total.squeeze(1) / total.sum() if total.sum() > 0 else torch.zeros(len(rows), dtype=torch.float64)
    return abs(round(float((weight * (1 - uncertainty)).sum()), 12))


def intrinsic_dimension(features: Tensor, drop: float = 0.1) -> float:
    """The dimension that the features fill, by TwoNN (Facco et al. 2017); above 0.

    The ratio mu of the distances to the second and the first neighbour follows `F(mu) = 1 - mu^-d`; d is the slope of
    `-log(1 - F)` over `log mu` through the origin.

    Args:
        features: N x D without doubles (of equal rows the first is kept), N at least 10.
        drop: the share of the largest ratios that is left out, as in the paper.

    Raises:
        ValueError: fewer than 10 different rows.
    """
    x = torch.unique(features.double(), dim=0)
    if len(x) < 10:
        raise ValueError(f"features: expected at least 10 different rows, got {len(x)}")
    distances = torch.cdist(x, x).fill_diagonal_(math.inf)
    nearest = distances.topk(2, dim=1, largest=False).values
    ratios = np.sort((nearest[:, 1] / nearest[:, 0]).cpu().numpy())
    share = np.arange(1, len(ratios) + 1) / len(ratios)
    kept = slice(0, int(len(ratios) * (1 - drop)))
    log_ratio, rate = np.log(ratios[kept]), -np.log(1 - share[kept])
    return float((log_ratio @ rate) / (log_ratio @ log_ratio))
