"""MART: the authors' values, the formula in plain loops, and numerics."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import MART
from toughen.methods.mart import boosted_cross_entropy, misclassified_kl
from toughen.methods.method import Perturbed


def published(clean: Tensor, adversarial: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of each image as the published code has them, with its constants."""
    p, q = clean.softmax(1), adversarial.softmax(1)
    order = q.argsort(dim=1)[:, -2:]
    wrong = torch.where(order[:, -1] == labels, order[:, -2], order[:, -1])
    rows = torch.arange(len(labels))
    boosted = F.cross_entropy(adversarial, labels, reduction="none") - (1.0001 - q + 1e-12).log()[rows, wrong]
    divergence = (p * (p.log() - (q + 1e-12).log())).sum(1)
    return boosted, divergence * (1.0000001 - p[rows, labels])


def test_the_authors_values(reference: dict) -> None:
    clean, adversarial, labels = reference["clean"], reference["adv"], reference["labels"]
    expected = reference["expected"]["mart"]
    boosted = boosted_cross_entropy(adversarial, labels)
    assert boosted.mean().item() == pytest.approx(expected["boosted_ce"], abs=1e-6, rel=0)
    regularizer = misclassified_kl(clean, adversarial, labels)
    assert regularizer.mean().item() == pytest.approx(expected["regularizer"], abs=1e-6, rel=0)


def test_the_stable_form_differs_from_the_published_one_by_its_constants_only(reference: dict) -> None:
    clean, adversarial, labels = reference["clean"], reference["adv"], reference["labels"]
    boosted, regularizer = published(clean, adversarial, labels)
    assert (boosted_cross_entropy(adversarial, labels) - boosted).abs().max() < 1e-8
    difference = misclassified_kl(clean, adversarial, labels) - regularizer
    capped = (clean.softmax(1) * 1e-12 / adversarial.softmax(1)).sum(1)
    weighted = 1e-7 * regularizer / (1 - clean.softmax(1)[torch.arange(len(labels)), labels])
    assert (difference.abs() <= capped + weighted + 1e-14).all()


def test_far_apart_the_published_kl_stops_and_ours_does_not() -> None:
    clean, opposite = torch.tensor([[100.0, 0.0]]).double(), torch.tensor([[0.0, 100.0]]).double()
    assert misclassified_kl(clean, opposite, torch.tensor([1])).item() == pytest.approx(100.0)
    assert published(clean, opposite, torch.tensor([1]))[1].item() == pytest.approx(27.631, abs=1e-3)


def test_the_formula_in_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, adversarial = (2 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = [3, 0, 1, 2, 2]
    boosted, weighted = [], []
    for z, w, y in zip(clean.tolist(), adversarial.tolist(), labels, strict=True):
        p = [math.exp(a) / sum(math.exp(b) for b in z) for a in z]
        q = [math.exp(a) / sum(math.exp(b) for b in w) for a in w]
        worst = max(q[k] for k in range(4) if k != y)
        boosted.append(-math.log(q[y]) - math.log(1.0001 - worst))
        weighted.append((1 - p[y]) * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert boosted_cross_entropy(adversarial, torch.tensor(labels)).tolist() == pytest.approx(boosted)
    assert misclassified_kl(clean, adversarial, torch.tensor(labels)).tolist() == pytest.approx(weighted)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    clean, adversarial = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda a: boosted_cross_entropy(a, labels), (adversarial,))
    assert torch.autograd.gradcheck(lambda a, b: misclassified_kl(a, b, labels), (clean, adversarial))


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_huge_equal_and_one_hot_logits_are_finite(size: float) -> None:
    clean = (size * torch.eye(4)).requires_grad_(True)
    adversarial = (size * torch.eye(4).roll(1, 0)).requires_grad_(True)
    labels = torch.arange(4)
    for first, second in ((clean, adversarial), (clean, clean), (adversarial, clean)):
        values = boosted_cross_entropy(second, labels) + misclassified_kl(first, second, labels)
        gradients = torch.autograd.grad(values.sum(), {first, second})
        assert values.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients)
    # The boost is bounded, however wrong the output is.
    boost = boosted_cross_entropy(adversarial, labels) - F.cross_entropy(adversarial, labels, reduction="none")
    assert (boost.detach() <= -math.log(1e-4) + 1e-3).all()


def test_soft_targets_enter_the_cross_entropy_and_labels_the_weights() -> None:
    class Lookup(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    images, soft = torch.randn(4, 3, 1, 1).double(), torch.rand(4, 3).softmax(1).double()
    other = images + torch.randn(4, 3, 1, 1)
    batch = Batch(images, torch.tensor([0, 1, 2, 0]), soft=soft)
    terms = MART(lam=6.0).terms(Lookup(), batch, Perturbed(other))
    hard = MART(lam=6.0).terms(Lookup(), Batch(images, batch.labels), Perturbed(other))
    assert torch.equal(terms["regularizer"].values, hard["regularizer"].values)
    assert terms["regularizer"].weight == 6.0
    log_q = other.flatten(1).log_softmax(1)
    true = log_q[torch.arange(4), batch.labels]
    torch.testing.assert_close(terms["boosted_ce"].values - hard["boosted_ce"].values, true - (soft * log_q).sum(1))


def test_published_defaults() -> None:
    method = MART()
    assert method.lam == 5.0
    assert isinstance(method.attack, PGD)
    assert (method.attack.steps, method.attack.start, method.attack.loss) == (10, "normal", "ce")
    with pytest.raises(InputError, match=r"method\.lam"):
        MART(lam=-1)
