"""APGD's ascent for training against pyautoattack's, from the same start; l1's is held by its authors' whole steps."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import nn

from toughen.attacks import PGD, AdaptivePGD
from toughen.losses import cross_entropy
from toughen.threat import ThreatModel


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Piecewise linear, so that losses rise and fall along the way."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 5)).double().eval()


def case(n: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 4, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 5


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.8)], ids=str)
def test_images_are_the_librarys(network: nn.Module, threat: ThreatModel, steps: int) -> None:
    images, labels = case()
    theirs = APGDAttack(network, n_iter=steps, norm=threat.library_norm, eps=threat.radius, loss="ce", device="cpu")
    theirs.init_hyperparam(images)
    expected = theirs.attack_single_run(images, labels, x_init=images)[0].detach()
    found = AdaptivePGD(steps).maximise(network, lambda z: cross_entropy(z, labels), images, threat)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)  # the library's zeros are fp32


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.8), ThreatModel("l1", 3.0)], ids=str)
def test_it_gains_about_what_pgd_gains_at_least(network: nn.Module, threat: ThreatModel) -> None:
    images, labels = case(64)
    gained = []
    for attack in (AdaptivePGD(10), PGD(steps=10, start="clean")):
        found = attack.maximise(network, lambda z: cross_entropy(z, labels), images, threat)
        threat.check(found, images)
        assert not found.requires_grad
        gained.append((cross_entropy(network(found), labels) - cross_entropy(network(images), labels)).mean().item())
    # Of so few pixels l1's steps move two or three.
    assert gained[0] >= (0.8 if threat.norm == "l1" else 0.97) * gained[1] > 0


def test_no_image_ends_below_where_it_began(network: nn.Module) -> None:
    images, labels = case()
    for norm, eps in (("linf", 0.3), ("l2", 2.0), ("l1", 6.0)):
        found = AdaptivePGD(4).maximise(network, lambda z: cross_entropy(z, labels), images, ThreatModel(norm, eps))
        assert (cross_entropy(network(found), labels) >= cross_entropy(network(images), labels)).all()
