"""How a gradient at an image lies to the image, and how few pixels it is made of."""

import torch
from torch import Tensor


def alignment(images: Tensor, gradients: Tensor) -> Tensor:
    """`|<x, g>| / (|x| |g|)` of each image, in [0, 1], (N,); not a number where one of them is zero.

    Source: Etmann et al., On the Connection Between Adversarial Robustness and Saliency Map Interpretability, 2019,
    whose alignment of the predicted logit's gradient g is this times `|x|`; so images of any brightness compare.

    >>> alignment(torch.tensor([[3.0, 4.0]]), torch.tensor([[-6.0, -8.0]]))
    tensor([1.])
    """
    x, g = images.flatten(1).double(), gradients.flatten(1).double()
    return ((x * g).sum(1).abs() / (x.norm(dim=1) * g.norm(dim=1))).float()


def gini(attributions: Tensor) -> Tensor:
    """Gini index of the sizes of each image's attributions, in [0, 1 - 1 / D], (N,): 0 where all pixels count alike.

    `1 - 2 sum_k v_(k) (D - k + 1/2) / (D |v|_1)` of the sizes v in ascending order; `1 - 1 / D` where one pixel is all.
    Not a number where all are zero. Source: Chalasani et al., Concise Explanations of Neural Networks using Adversarial
    Training, 2020.

    >>> gini(torch.tensor([[1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 5.0, 0.0]]))
    tensor([0.0000, 0.7500])
    """
    v = attributions.flatten(1).double().abs().sort(dim=1).values
    count = v.shape[1]
    places = torch.arange(1, count + 1, dtype=v.dtype, device=v.device)
    return (1 - 2 * (v * (count - places + 0.5)).sum(1) / (count * v.sum(1))).float()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of each pair of images, in [-1, 1], (N,); not a number for a constant one.

    >>> correlation(torch.tensor([[0.0, 1.0]]), torch.tensor([[5.0, 3.0]]))
    tensor([-1.])
    """
    x, y = (each.flatten(1).double() - each.flatten(1).double().mean(dim=1, keepdim=True) for each in (first, second))
    return ((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))).float()
