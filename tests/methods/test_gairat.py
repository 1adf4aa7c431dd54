"""GAIRAT: weights in plain loops, steps counted on a network whose every step is known, and epochs without weights."""

import math

import pytest
import torch
from torch import nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import GAIRAT, Perturbed
from toughen.methods.gairat import geometry_weights
from toughen.threat import ThreatModel


def test_the_weights_in_plain_loops() -> None:
    held, steps, lam = [0, 3, 7, 10, 10], 10, -1.0
    raw = [(math.tanh(lam + (5 - kappa) * 5 / 5) + 1) / 2 for kappa in held]
    expected = [weight * 5 / sum(raw) for weight in raw]
    assert geometry_weights(torch.tensor(held).double(), steps, lam).tolist() == pytest.approx(expected)
    assert geometry_weights(torch.tensor([2.0, 2.0]), 10, -1.0).tolist() == [1.0, 1.0]


class Line(nn.Module):
    """Two classes on one pixel: class 1 above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.scale * (images.flatten(1)[:, :1] - 0.5)
        return torch.cat([-z, z], 1)


def test_counted_are_the_steps_at_whose_beginning_an_image_is_right() -> None:
    images = torch.tensor([0.2, 0.47, 0.43, 0.35, 0.6]).view(5, 1, 1, 1)
    batch = Batch(images, torch.zeros(5, dtype=torch.int64))
    method = GAIRAT(attack=GradientAttack(steps=4, step_size=0.05, start="clean")).under(ThreatModel("linf", 0.2))
    found = method.perturb(Line(), batch)
    # Every step goes 0.05 towards class 1: 0.47 is right before the first step alone, 0.43 before two.
    assert found.held.tolist() == [4.0, 1.0, 2.0, 3.0 + 1.0, 0.0]


def test_weights_begin_with_their_epoch() -> None:
    batch = Batch(torch.tensor([0.2, 0.45]).view(2, 1, 1, 1), torch.tensor([0, 0]))
    perturbed = Perturbed(batch.images, held=torch.tensor([4.0, 0.0]))
    method = GAIRAT(begin=3, attack=GradientAttack(steps=4))
    model, found = Line(), []
    for epoch in (0, 1, 2):
        method.begin_epoch(model, epoch, batch)
        found.append(method.terms(model, batch, perturbed)["weighted_ce"].values.tolist())
    assert found[0] == found[1]
    weights = geometry_weights(torch.tensor([4.0, 0.0]), 4, -1.0).tolist()
    assert found[2] == pytest.approx([w * value for w, value in zip(weights, found[0], strict=True)])
    # A clean epoch has no attack whose steps could be counted.
    assert method.terms(model, batch, Perturbed(batch.images))["weighted_ce"].values.tolist() == found[0]


def test_an_attack_whose_steps_cannot_be_counted() -> None:
    with pytest.raises(InputError, match="restarts=2"):
        GAIRAT(attack=GradientAttack(restarts=2))
