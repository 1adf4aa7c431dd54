"""ARoW and CoW: the authors' values, the formula in plain loops, numerics, and what the settings change."""

import math

import pytest
import torch
from torch import Tensor

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.losses import cross_entropy
from toughen.methods import ARoW, total
from toughen.methods.arow import weighted_kl
from toughen.methods.method import Perturbed


class Lookup(torch.nn.Module):
    """A model whose 'images' are logits already, N x K x 1 x 1."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def published_regularizer(clean: Tensor, adversarial: Tensor, labels: Tensor, weight: str) -> Tensor:
    """As in the published code, with its 1e-12 inside the logarithm."""
    p, q = clean.softmax(1), adversarial.softmax(1)
    true = (q if weight == "arow" else p)[torch.arange(len(labels)), labels]
    values = (p * (p.log() - (q + 1e-12).log())).sum(1)
    return values * (1 - true if weight == "arow" else true)


@pytest.mark.parametrize(
    ("name", "smoothing", "weight"),
    [
        ("arow_ce", 0.0, "arow"),
        ("arow_label_smoothing_0.2", 0.2, "arow"),
        ("cow_label_smoothing_0.2", 0.2, "cow"),
    ],
)
def test_the_authors_values(reference: dict, name: str, smoothing: float, weight: str) -> None:
    clean, adversarial = (reference[key][:, :, None, None] for key in ("clean", "adv"))
    method = ARoW(lam=3.5, smoothing=smoothing, weight=weight)
    terms = method.terms(Lookup(), Batch(clean, reference["labels"]), Perturbed(adversarial))
    expected = reference["expected"][name]
    assert terms["supervised"].values.mean().item() == pytest.approx(expected["supervised"], abs=1e-6)
    assert terms["regularizer"].values.mean().item() == pytest.approx(expected["regularizer"], abs=1e-6)
    # The code's --lamb is 2 lam.
    assert [term.weight for term in terms.values()] == [1.0, 7.0]
    assert total(terms).item() == pytest.approx(expected["supervised"] + 7.0 * expected["regularizer"], abs=1e-5)


@pytest.mark.parametrize("weight", ["arow", "cow"])
def test_the_stable_form_differs_from_the_published_one_only_at_tiny_probabilities(
    reference: dict, weight: str
) -> None:
    clean, adversarial, labels = reference["clean"], reference["adv"], reference["labels"]
    stable = weighted_kl(clean, adversarial, labels, weight)
    published = published_regularizer(clean, adversarial, labels, weight)
    bound = (clean.softmax(1) * 1e-12 / adversarial.softmax(1)).sum(1)
    assert ((stable - published) >= -1e-14).all()
    assert ((stable - published) <= bound + 1e-14).all()
    # Far apart, the published form stops at -log 1e-12.
    certain, opposite = torch.tensor([[100.0, 0.0]]).double(), torch.tensor([[0.0, 100.0]]).double()
    zero = torch.tensor([0])
    assert weighted_kl(certain, opposite, zero, weight).item() == pytest.approx(100.0)
    assert published_regularizer(certain, opposite, zero, weight).item() == pytest.approx(27.631, abs=1e-3)


@pytest.mark.parametrize("weight", ["arow", "cow"])
def test_the_formula_in_plain_loops(weight: str) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, adversarial = (3 * torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = [2, 0, 1, 1]
    expected = []
    for z, w, y in zip(clean.tolist(), adversarial.tolist(), labels, strict=True):
        p = [math.exp(a) / sum(math.exp(b) for b in z) for a in z]
        q = [math.exp(a) / sum(math.exp(b) for b in w) for a in w]
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        expected.append(divergence * (1 - q[y] if weight == "arow" else p[y]))
    assert weighted_kl(clean, adversarial, torch.tensor(labels), weight).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("weight", ["arow", "cow"])
def test_gradients(weight: str) -> None:
    generator = torch.Generator().manual_seed(1)
    clean, adversarial = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda a, b: weighted_kl(a, b, labels, weight), (clean, adversarial))


@pytest.mark.parametrize("weight", ["arow", "cow"])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_huge_equal_and_one_hot_logits_are_finite(weight: str, size: float) -> None:
    clean = (size * torch.eye(4)).requires_grad_(True)
    adversarial = (size * torch.eye(4).roll(1, 0)).requires_grad_(True)
    labels = torch.arange(4)
    for first, second in ((clean, adversarial), (clean, clean), (adversarial, clean)):
        values = weighted_kl(first, second, labels, weight)
        gradients = torch.autograd.grad(values.sum(), {clean, adversarial}, allow_unused=True)
        assert values.isfinite().all()
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_the_weight_is_the_only_difference_between_arow_and_cow() -> None:
    clean, adversarial = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    labels = torch.randint(3, (5,))
    arow, cow = (weighted_kl(clean, adversarial, labels, weight) for weight in ("arow", "cow"))
    doubt = 1 - adversarial.softmax(1)[torch.arange(5), labels]
    confidence = clean.softmax(1)[torch.arange(5), labels]
    torch.testing.assert_close(arow / doubt, cow / confidence)


def test_smoothing_changes_the_supervised_term_only_and_adds_to_soft_targets() -> None:
    images, soft = torch.randn(4, 3, 1, 1), torch.rand(4, 3).softmax(1)
    batch = Batch(images, torch.tensor([0, 1, 2, 0]), soft=soft)
    perturbed = Perturbed(images + 0.3 * torch.randn(4, 3, 1, 1))
    plain, smooth = (ARoW(smoothing=s).terms(Lookup(), batch, perturbed) for s in (0.0, 0.2))
    assert torch.equal(plain["regularizer"].values, smooth["regularizer"].values)
    torch.testing.assert_close(plain["supervised"].values, cross_entropy(images.flatten(1), soft))
    torch.testing.assert_close(smooth["supervised"].values, cross_entropy(images.flatten(1), 0.8 * soft + 0.2 / 3))


def test_published_defaults() -> None:
    method = ARoW()
    assert (method.lam, method.smoothing, method.weight, method.inner) == (3.5, 0.2, "arow", "kl")
    assert isinstance(method.attack, GradientAttack)
    assert (method.attack.steps, method.attack.start, method.attack.mode) == (10, "uniform", "eval")
    assert method.attack.step_size_under(method.threat) == pytest.approx(method.threat.radius / 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lam": -1.0}, r"method\.lam: expected a weight of at least 0, got -1"),
        ({"lam": math.nan}, r"method\.lam"),
        ({"smoothing": 1.0}, r"method\.smoothing: .* below 1, got 1"),
        ({"weight": "wow"}, r"method\.weight: expected one of arow, cow, got 'wow'"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ARoW(**settings)
