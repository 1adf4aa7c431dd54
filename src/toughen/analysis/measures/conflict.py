"""Whether two losses pull shared parameters in opposite directions."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

Gradients = Mapping[str, Tensor | None]
"""A gradient for each parameter, by the parameter's name; None where the loss does not depend on it."""


def cosine(first: Iterable[Tensor | None], second: Iterable[Tensor | None]) -> float:
    """`<g, h> / (|g| |h|)` of two gradients over the same parameters, in [-1, 1]; None stands for zeros.

    Below 0 a small step along one loss' descent raises the other: the conflict of Waseda et al. 2025 (AR-AT), as in
    Yu et al., Gradient Surgery for Multi-Task Learning, 2020. Not a number where a gradient is zero: it then conflicts
    with nothing.

    >>> cosine([torch.tensor([1.0, 0.0]), None], [torch.tensor([-3.0, 0.0]), torch.tensor([4.0])])
    -0.6
    """
    sums: list[Tensor] = []  # product and squares of each parameter: a GPU is asked once
    for g, h in zip(first, second, strict=True):
        known = next((each for each in (g, h) if each is not None), None)
        if known is not None:
            x, y = (torch.zeros_like(known) if each is None else each for each in (g, h))
            exact = torch.float32 if known.device.type == "mps" else torch.float64  # which that device does not have
            x, y = x.flatten().to(exact), y.flatten().to(exact)
            sums.append(torch.stack([x @ y, x @ x, y @ y]))
    product, *squares = torch.stack(sums).sum(dim=0).tolist() if sums else (0.0, 0.0, 0.0)
    if not all(squares):
        return math.nan
    # Rounding may leave it an ulp outside.
    return max(-1.0, min(1.0, product / math.sqrt(squares[0] * squares[1])))


def cosines_by_group(first: Gradients, second: Gradients, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """`cosine` over the parameters of each group, and over those of all groups together under the name "all".

    Args:
        first: gradient of one loss.
        second: gradient of the other.
        groups: names of parameters, such as those of a stage of the network, by the group's name.
    """
    together = [name for names in groups.values() for name in names]
    return {
        group: cosine((first[name] for name in names), (second[name] for name in names))
        for group, names in {**groups, "all": together}.items()
    }


def layer_groups(parameters: Iterable[str], most: int = 12) -> dict[str, list[str]]:
    """Parameters by the layers that they belong to, named as finely as gives at most so many groups.

    >>> layer_groups(["network.layer1.0.conv1.weight", "network.layer1.1.conv1.weight", "network.fc.bias"])
    {'layer1.0': ['network.layer1.0.conv1.weight'], 'layer1.1': ['network.layer1.1.conv1.weight'], \
'fc': ['network.fc.bias']}
    """
    names = list(parameters)
    paths = [name.split(".")[:-1] for name in names]
    shared = 0
    while all(len(path) > shared + 1 for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    groups: dict[str, list[str]] = {}
    for depth in range(1, max(map(len, paths), default=0) - shared + 1):
        finer: dict[str, list[str]] = {}
        for name, path in zip(names, paths, strict=True):
            # A module's own parameters stay with it; two parts of a name say enough of a layer.
            finer.setdefault(".".join(path[shared : shared + min(depth, 2)]) or name, []).append(name)
        if groups and len(finer) > most:
            break
        groups = finer
    return groups
