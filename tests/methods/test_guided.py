"""NuAT and GAT: their distances against other forms of them, their attack's two kinds of step, and their weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import GAT, NuAT, total
from toughen.methods.gat import probability_distance
from toughen.methods.guided import Guided
from toughen.methods.nuat import nuclear_norm
from toughen.threat import ThreatModel

EPS = 0.05


def logits(rows: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    first, second = (torch.randn(rows, classes, generator=draws, dtype=torch.float64) for _ in range(2))
    return first.requires_grad_(True), second.requires_grad_(True)


@pytest.mark.parametrize(("rows", "classes"), [(6, 4), (3, 10), (1, 5)])
def test_nuclear_norm_is_the_trace_of_the_root_of_the_gram_matrix(rows: int, classes: int) -> None:
    first, second = logits(rows, classes)
    difference = (first - second).detach().numpy()
    gram = difference @ difference.T if rows < classes else difference.T @ difference
    roots = np.sqrt(np.linalg.eigvalsh(gram).clip(0))
    assert nuclear_norm(first, second).item() == pytest.approx(roots.sum() / rows, rel=1e-9)


def test_probability_distance_in_plain_loops() -> None:
    first, second = (each.detach() for each in logits())
    for n, found in enumerate(probability_distance(first, second)):
        p, q = (np.exp(each[n].numpy()) / np.exp(each[n].numpy()).sum() for each in (first, second))
        assert found.item() == pytest.approx(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)))


@pytest.mark.parametrize("distance", [nuclear_norm, probability_distance])
def test_gradients_by_finite_differences(distance: object) -> None:
    assert torch.autograd.gradcheck(distance, logits(3, 2))


@pytest.mark.parametrize("distance", [nuclear_norm, probability_distance])
def test_equal_outputs_have_a_finite_gradient(distance: object) -> None:
    first = torch.randn(4, 3, requires_grad=True)
    distance(first, first.detach().clone()).sum().backward()
    assert first.grad.isfinite().all()


class Ramps(nn.Module):
    """Two classes: CE of class 0 grows with the images' first half, the distance from the clean output with both."""

    def forward(self, images: Tensor) -> Tensor:
        left, right = (images - 0.5).flatten(1).chunk(2, dim=1)
        return torch.stack([-left.sum(1), 3 * right.sum(1)], dim=1)


@pytest.mark.parametrize("make", [NuAT, GAT])
def test_every_second_attack_climbs_the_distance_too(make: type[Guided]) -> None:
    """With a start below the clean image and a large weight, the distance leads down where cross-entropy leads up."""
    method = make(lam=1e6, attack=GradientAttack(steps=1, start="clean")).under(ThreatModel("linf", EPS))
    grey = torch.full((1, 1, 2, 4), 0.5)
    method.noisy = lambda images: images - EPS / 2
    batch = Batch(grey, torch.tensor([0]))
    found = [(method.perturb(Ramps(), batch).images - grey).sign().unique().tolist() for _ in range(3)]
    assert found == [[1.0], [-1.0], [1.0]]
    method.begin_epoch(Ramps(), 1, batch)
    assert method.perturb(Ramps(), batch).images.gt(grey).all()


def test_the_start_is_a_corner_of_the_smaller_ball() -> None:
    threat = ThreatModel("linf", EPS)
    images = torch.full((4, 1, 8, 8), 0.5)
    method = NuAT(noise=0.5).under(threat, torch.Generator().manual_seed(0))
    torch.testing.assert_close((method.noisy(images) - images).abs(), torch.full_like(images, EPS / 2))
    black = method.noisy(torch.zeros(1, 1, 8, 8))
    assert black.unique().tolist() == [0.0, pytest.approx(EPS / 2)]


def test_weights_over_the_published_runs() -> None:
    """lam as the codes' loops leave it: added to, or multiplied, at the end of an epoch."""
    nuat, gat = NuAT(), GAT()
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.tensor([0]))
    nuat.begin_epoch(nn.Identity(), 7, batch)
    assert nuat.weight == 4.5  # the length of the run is not known
    nuat.epochs = gat.epochs = 100
    lam, l2 = 0.0, 10.0
    for epoch in range(100):
        nuat.begin_epoch(nn.Identity(), epoch, batch)
        gat.begin_epoch(nn.Identity(), epoch, batch)
        assert nuat.weight.item() == pytest.approx(lam, abs=1e-5)
        assert gat.weight.item() == l2
        lam += 4.5 / 90 if epoch < 90 else 0.0
        l2 *= 4.0 if epoch == 85 else 1.0


def test_the_weight_scales_the_distance_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    draws = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(5, 1, 4, 4, generator=draws), torch.tensor([0, 1, 2, 0, 1]))
    method = NuAT(lam=2.0).under(ThreatModel("linf", EPS), draws)
    terms = method.terms(model, batch, method.perturb(model, batch))
    assert total(terms).item() == pytest.approx((terms["ce"].values.mean() + 2 * terms["nuclear"].values).item())
    assert method.attacks_outputs
    assert not NuAT(clean_passes=2).attacks_outputs  # a replica has no statistics to move


@pytest.mark.parametrize(
    ("make", "settings", "name"),
    [
        (NuAT, {"lam": -1.0}, "lam"),
        (NuAT, {"ramp": 1.5}, "ramp"),
        (NuAT, {"noise": 1.5}, "noise"),
        (GAT, {"late": -1.0}, "late"),
        (GAT, {"late_from": 2.0}, "late_from"),
        (GAT, {"clean_passes": 3}, "clean_passes"),
    ],
)
def test_settings_out_of_range(make: type[Guided], settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected"):
        make(**settings)
