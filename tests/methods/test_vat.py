"""VAT: power iteration against the Hessian's eigenvector in closed form, and what it does without labels."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import VAT
from toughen.methods.vat import sharpest_direction
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


def linear(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4)).to(dtype)
    return model, 0.2 + 0.6 * torch.rand(5, 1, 3, 3, dtype=dtype)


def eigenvectors(model: nn.Module, images: Tensor) -> Tensor:
    """For a linear model the KL's Hessian is W' (diag p - p p') W: its leading eigenvector, of each image."""
    weight = model[1].weight.detach().double()
    vectors = []
    for p in model(images).detach().double().softmax(1):
        hessian = weight.T @ (torch.diag(p) - torch.outer(p, p)) @ weight
        vectors.append(torch.linalg.eigh(hessian).eigenvectors[:, -1])
    return torch.stack(vectors)


@pytest.mark.parametrize(("dtype", "xi"), [(torch.float64, 1e-4), (torch.float32, 0.01)])
def test_the_direction_is_the_leading_eigenvector_of_the_hessian(dtype: torch.dtype, xi: float) -> None:
    model, images = linear(dtype)
    found = sharpest_direction(model, images, 60, xi, torch.Generator().manual_seed(0)).flatten(1).double()
    cosine = F.cosine_similarity(found, eigenvectors(model, images)).abs()
    assert (cosine > 0.999).all()


def test_one_iteration_is_the_hessian_times_the_random_start() -> None:
    model, images = linear(torch.float64)
    start = torch.empty_like(images).normal_(generator=torch.Generator().manual_seed(0)).flatten(1)
    found = sharpest_direction(model, images, 1, 1e-5, torch.Generator().manual_seed(0)).flatten(1)
    weight = model[1].weight.detach()
    for p, d, direction in zip(model(images).softmax(1).detach(), start, found, strict=True):
        expected = weight.T @ (torch.diag(p) - torch.outer(p, p)) @ weight @ d
        assert F.cosine_similarity(direction, expected, dim=0) > 0.99999


@pytest.mark.parametrize(
    "threat", [ThreatModel("linf", 0.05), ThreatModel("l2", 0.05), ThreatModel("l1", 0.05)], ids=str
)
def test_the_perturbation_has_length_eps(threat: ThreatModel) -> None:
    model, images = linear(torch.float64)
    perturbed = VAT().under(threat, torch.Generator().manual_seed(0)).perturb(model, Batch(images, None))
    delta = perturbed.images - images
    torch.testing.assert_close(threat.norm_of(delta), torch.full((5,), 0.05, dtype=torch.float64))


def test_it_raises_the_kl_more_than_chance_does() -> None:
    model, images = linear(torch.float64)
    threat = ThreatModel("l2", 0.2)
    target = model(images).log_softmax(1)

    def divergence(x: Tensor) -> Tensor:
        return F.kl_div(model(x).log_softmax(1), target, log_target=True, reduction="none").sum(1)

    method = VAT(iterations=3).under(threat, torch.Generator().manual_seed(0))
    found = divergence(method.perturb(model, Batch(images, None)).images)
    for seed in range(20):
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        random = images + 0.2 * noise / threat.norm_of(noise).view(-1, 1, 1, 1)
        assert (found > divergence(random)).all()


def test_the_label_plays_no_part_in_the_perturbation_or_the_kl() -> None:
    torch.manual_seed(0)
    fresh, images = SmallCNN(4, 1, width=4), torch.rand(6, 1, 6, 6)
    kls = []
    for labels in (torch.zeros(6, dtype=torch.int64), torch.full((6,), -100)):
        method = VAT().under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
        model, batch = copy.deepcopy(fresh), Batch(images, labels)
        terms = method.terms(model, batch, method.perturb(model, batch))
        kls.append(terms["virtual_kl"].values)
    assert torch.equal(*kls)
    # Unlabelled images: no cross-entropy, and none of its gradient.
    assert torch.equal(terms["ce"].values, torch.zeros(6))
    terms["ce"].values.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_the_target_is_fixed_unless_asked_for() -> None:
    """The gradient of the KL with respect to the clean output is zero, or is not."""
    clean_logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    other_logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    class Two(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return clean_logits if images.sum() == 0 else other_logits

    batch = Batch(torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 2]))
    for stop in (True, False):
        method = VAT(stop_gradient=stop)
        terms = method.terms(Two(), batch, method.perturb(Constant(), batch)._replace(images=torch.ones(3, 1, 2, 2)))
        values = terms["virtual_kl"].values.sum()
        to_clean, to_other = torch.autograd.grad(values, (clean_logits, other_logits), allow_unused=True)
        assert (to_clean is None) == stop
        torch.testing.assert_close(to_other, (other_logits.softmax(1) - clean_logits.softmax(1)).detach())


class Constant(nn.Module):
    """The same output everywhere: no direction is sharper than another."""

    def forward(self, images: Tensor) -> Tensor:
        return 0 * images.flatten(1)


def test_where_nothing_changes_the_image_stays() -> None:
    images = torch.rand(2, 1, 2, 2)
    assert torch.equal(VAT().perturb(Constant(), Batch(images, None)).images, images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lam": -1}, r"method\.lam"),
        ({"iterations": 0}, r"method\.iterations: expected at least 1, got 0"),
        ({"xi": 0.0}, r"method\.xi: expected a number above 0, got 0"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VAT(**settings)
