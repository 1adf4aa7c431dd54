"""A dead attack: perturbations that do no more than noise does."""

import math

import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.losses import cross_entropy, kl
from toughen.methods import Method
from toughen.models.mode import evaluating
from toughen.random_state import own_random_state

IN_A_ROW = 2
"""Looks that must all find it: one can be chance where a batch is small."""


def gain(method: Method, model: nn.Module, batch: Batch, adversarial: Tensor, seed: int) -> Tensor:
    """What an attack gains over noise of its ball, (N,): how much higher that is which it climbs; in eval mode.

    For an attack on the labels that is `CE(f(x'), y)`, for any other `KL(p_f(x) || p_f(x'))`.

    Args:
        method: whose attack it is.
        model: the network, left as it is.
        batch: clean images x.
        adversarial: what the attack made of them, x'.
        seed: of the noise.
    """
    generator = torch.Generator(batch.images.device).manual_seed(seed)
    noisy = method.threat.random_start(batch.images, generator)
    with evaluating(model), torch.no_grad(), own_random_state():
        found, by_chance = model(adversarial), model(noisy)
        if isinstance(getattr(method, "attack", None), PGD):
            return (cross_entropy(found, batch.target) - cross_entropy(by_chance, batch.target)).float()
        clean = model(batch.images)
        return (kl(clean, found) - kl(clean, by_chance)).float()


def is_dead(gains: Tensor) -> bool:
    """Whether the mean gain is less than one standard error above 0.

    >>> [is_dead(torch.tensor(gains)) for gains in ([0.5, 0.9, 0.7, 1.2], [0.1, -0.1, 0.2, -0.2], [0.0, 0.0, 0.0, 0.0])]
    [False, True, True]
    """
    spread = float(gains.std()) if len(gains) > 1 else 0.0
    return float(gains.mean()) <= spread / math.sqrt(len(gains))
