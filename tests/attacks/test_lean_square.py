"""Square without needless queries, against the library's own."""

import pytest
import torch
import zoo
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.attacks.lean_square import LeanSquare
from toughen.data import Digits
from toughen.models.inference import frozen
from toughen.threat import ThreatModel


class Counting(nn.Module):
    """Counts the images that a model is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return self.model(images)


def linear(channels: int, height: int, width: int) -> nn.Module:
    """Each logit looks at a part of the image; in fp64, so that no rounding decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 5)).double()


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 8, 8), (3, 9, 6)])
@pytest.mark.parametrize("eps", [0.01, 0.05])
def test_images_are_the_librarys_and_queries_are_fewer(channels: int, height: int, width: int, eps: float):
    model = linear(channels, height, width)
    images = torch.rand(20, channels, height, width, generator=torch.Generator().manual_seed(1)).double()
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 5  # misclassified already
    found, asked = [], []
    for change in (lambda attack: attack, LeanSquare):
        counting = Counting(model)
        settings = {"norm": "Linf", "eps": eps, "n_queries": 300, "p_init": 0.8, "resc_schedule": True}
        attack = SquareAttack(counting, seed=3, device=images.device, **settings)
        with torch.no_grad():
            found.append(change(attack).perturb(images, labels))
        asked.append(counting.images)
    assert torch.allclose(found[0], found[1], atol=1e-12)
    broken = model(found[0]).argmax(1) != labels
    assert 1 < int(broken.sum()) < 20 or eps == 0.05
    assert asked[1] < 0.95 * asked[0]


def test_nothing_to_attack():
    model = linear(1, 8, 8)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    labels = (model(images).argmax(1) + 1) % 5
    attack = SquareAttack(model, norm="Linf", eps=0.1, n_queries=10, seed=0, resc_schedule=True, device=images.device)
    with torch.no_grad():
        assert torch.equal(LeanSquare(attack).perturb(images, labels), images)


def test_images_out_of_reach_are_left_unless_one_is_broken():
    """A linear model's margin falls by at most eps times the weights' sum, and Square finds most of that."""
    model = linear(3, 8, 8)
    images = 0.3 + 0.4 * torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        logits, weight = model(images), model[1].weight
        labels = logits.argmax(1)
        slopes = (weight[labels].unsqueeze(1) - weight).abs().sum(2)
        gaps = (logits.gather(1, labels.unsqueeze(1)) - logits) / slopes
        nearest = float(gaps.scatter(1, labels.unsqueeze(1), torch.inf).min())
        asked = {}
        for share in (0.2, 1.5):
            counting = Counting(model)
            settings = {"norm": "Linf", "n_queries": 300, "p_init": 0.8, "resc_schedule": True}
            attack = SquareAttack(counting, seed=3, eps=share * nearest, device=images.device, **settings)
            broken = model(LeanSquare(attack).perturb(images, labels)).argmax(1) != labels
            assert bool(broken.any()) == (share > 1) and not bool(broken.all())
            asked[share] = counting.images / 12
    assert asked[0.2] <= 0.15 * 300
    assert asked[1.5] > 0.8 * 300


@pytest.mark.nightly
@pytest.mark.parametrize("build", [None, zoo.Quantised, zoo.FalseGradient, zoo.RippledLogits, zoo.HalfGradient])
def test_verdicts_on_what_gradients_have_left_are_the_librarys(robust_network, build):
    """On a sound network Square adds nothing, on broken defences nearly all; both go on where the library does."""
    images, labels = Digits().load("test").subset(torch.arange(120))
    model = robust_network if build is None else build(robust_network)
    threat = ThreatModel("linf", 0.1)
    gradients = PGD(50, restarts=2, keep_best=True, loss="margin")
    with frozen(model, "cpu") as still, torch.no_grad():
        left = still(gradients(still, images, labels, threat, torch.Generator().manual_seed(0))).argmax(1) == labels
        images, labels = images[left], labels[left]
        settings = {"norm": "Linf", "eps": threat.radius, "n_queries": 5000, "p_init": 0.8, "resc_schedule": True}
        attack = SquareAttack(still, seed=3, device=images.device, **settings)
        full, lean = (still(each.perturb(images, labels)).argmax(1) == labels for each in (attack, LeanSquare(attack)))
    assert torch.equal(full, lean)
    assert len(full) > 30 and int((~full).sum()) in (range(3) if build is None else range(3, len(full)))
