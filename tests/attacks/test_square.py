"""Square against direct calls of pyautoattack, and on the sizes where these fail."""

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import nn

from toughen.attacks.square import Square
from toughen.threat import Norm, ThreatModel

SETTINGS: list[tuple[Norm, float]] = [("linf", 0.08), ("l2", 0.5), ("l1", 1.0)]
SEED = 5


@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
def test_square_is_the_librarys(network, batch, norm: Norm, eps: float):
    images, labels = batch
    found = Square(60)(network, images, labels, ThreatModel(norm, eps), torch.Generator().manual_seed(SEED))
    attack = SquareAttack(
        network, norm=norm.capitalize(), eps=eps, n_queries=60, seed=SEED, resc_schedule=True, device="cpu"
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        assert torch.equal(found, attack.perturb(images, labels))
    with torch.no_grad():
        assert 0 < (network(found).argmax(1) == labels).sum() < len(labels)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.4), ("l1", 2.0)])
@pytest.mark.parametrize(("height", "width"), [(12, 12), (14, 14), (24, 24), (12, 20), (4, 4)])
def test_square_copes_with_sizes_on_which_the_library_fails(untrained, norm: Norm, eps: float, height: int, width: int):
    network, images, labels = untrained(3, 1, 24)
    network = nn.Sequential(nn.Upsample((24, 24)), network)
    images = images[1:, :, :height, :width].contiguous()
    labels = network(images).argmax(1)
    threat = ThreatModel(norm, eps)
    found = Square(300)(network, images, labels, threat, torch.Generator().manual_seed(SEED))
    assert found.shape == images.shape
    assert bool(threat.contains(found, images).all())
    broken = network(found).argmax(1) != labels
    assert broken.sum() > 0
    assert torch.equal(found[~broken], images[~broken])
    attack = SquareAttack(network, norm=norm.capitalize(), eps=eps, n_queries=300, seed=SEED, device="cpu")
    with torch.random.fork_rng(devices=[]), pytest.raises((RuntimeError, ZeroDivisionError)):
        attack.perturb(images, labels)
