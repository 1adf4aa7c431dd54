"""FGSM-RS and N-FGSM on a linear model, whose attack is known in closed form."""

import pytest
import torch
from torch import nn

from toughen.attacks import FGSM, PGD
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import FGSMRS, NFGSM, PGDAT
from toughen.threat import ThreatModel

EPS = 0.05


@pytest.fixture
def model() -> nn.Module:
    """Two classes; the gradient of class 0's cross-entropy has the sign of `weight[1] - weight[0]` at every point."""
    linear = nn.Linear(16, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 16, generator=torch.Generator().manual_seed(0)))
    return nn.Sequential(nn.Flatten(), linear)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = 0.3 + 0.4 * torch.rand(64, 1, 4, 4, generator=generator)  # nothing is clipped to [0, 1]
    return Batch(images, torch.zeros(64, dtype=torch.int64))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def uphill(model: nn.Module) -> torch.Tensor:
    weight = model[1].weight.detach()
    return (weight[1] - weight[0]).sign().view(1, 1, 4, 4)


def test_fgsm_rs_is_a_clipped_step_of_one_and_a_quarter_eps_from_a_uniform_start(
    model: nn.Module, batch: Batch
) -> None:
    threat = ThreatModel("linf", EPS)
    start = threat.random_start(batch.images, generator())
    expected = (start - batch.images + 1.25 * EPS * uphill(model)).clamp(-EPS, EPS)
    found = FGSMRS().under(threat, generator()).perturb(model, batch).images - batch.images
    torch.testing.assert_close(found, expected)
    # Not all pixels reach the border of the ball: a start at the opposite one ends at a quarter of eps.
    assert (found.abs() < 0.99 * EPS).float().mean().item() == pytest.approx(3 / 8, abs=0.05)


def test_fgsm_rs_is_pgd_at_with_that_attack(model: nn.Module, batch: Batch) -> None:
    threat = ThreatModel("linf", EPS)
    other = PGDAT(attack=PGD(steps=1, step_size=1.25 * EPS)).under(threat, generator())
    method = FGSMRS().under(threat, generator())
    torch.testing.assert_close(method(model, batch), other(model, batch))


@pytest.mark.parametrize("k", [0.0, 1.0, 2.0])
def test_n_fgsm_is_noise_of_k_eps_and_a_step_of_eps(model: nn.Module, batch: Batch, k: float) -> None:
    perturbed = NFGSM(k=k).under(ThreatModel("linf", EPS), generator()).perturb(model, batch)
    noise = perturbed.images - EPS * uphill(model) - batch.images
    torch.testing.assert_close(perturbed.initial, batch.images + noise)
    assert noise.abs().max() <= k * EPS + 1e-6
    if k == 0:
        assert noise.abs().max() < 1e-6
    else:  # uniform: mean size half the largest, as often up as down
        assert noise.abs().mean().item() == pytest.approx(k * EPS / 2, rel=0.08)
        assert (noise > 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
        assert perturbed.images.sub(batch.images).abs().max() > EPS  # it leaves the ball


def test_n_fgsm_stays_in_the_image_range(model: nn.Module) -> None:
    images = torch.rand(8, 1, 4, 4, generator=generator()).round()  # black and white
    batch = Batch(images, torch.zeros(8, dtype=torch.int64))
    perturbed = NFGSM().under(ThreatModel("linf", 0.2), generator()).perturb(model, batch)
    for found in (perturbed.images, perturbed.initial):
        assert 0 <= found.min() <= found.max() <= 1


def test_n_fgsm_takes_its_gradient_at_the_noisy_image() -> None:
    class Square(nn.Module):
        """Class 0's cross-entropy grows away from 0.5 on either side."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            away = (images - 0.5).square().flatten(1).sum(1)
            return torch.stack([-away, away], dim=1)

    batch = Batch(torch.full((4, 1, 8, 8), 0.5), torch.zeros(4, dtype=torch.int64))
    perturbed = NFGSM().under(ThreatModel("linf", EPS), generator()).perturb(Square(), batch)
    noise = perturbed.initial - 0.5
    torch.testing.assert_close(perturbed.images, 0.5 + noise + EPS * noise.sign())


def test_the_step_size_is_a_setting(model: nn.Module, batch: Batch) -> None:
    method = NFGSM(k=0.0, attack=FGSM(step_size=EPS / 5)).under(ThreatModel("linf", EPS), generator())
    torch.testing.assert_close(
        method.perturb(model, batch).images - batch.images, uphill(model).expand(64, -1, -1, -1) * EPS / 5
    )


def test_settings_out_of_range(model: nn.Module, batch: Batch) -> None:
    for k in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"method\.k: expected a number of at least 0"):
            NFGSM(k=k)
    with pytest.raises(InputError, match=r"method\.k: expected noise of k eps below 1 .*, got k 2.0 and eps 0.5"):
        NFGSM().under(ThreatModel("linf", 0.5)).perturb(model, batch)
