"""ALP: the formula against torch's own losses, and what its settings change."""

import pytest
import torch
import torch.nn.functional as F

from toughen.errors import InputError
from toughen.methods import ALP, total
from toughen.methods.alp import alp_terms


def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean, adversarial = (2 * torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return clean, adversarial, torch.tensor([0, 1, 2, 3, 0, 1])


def test_the_formula() -> None:
    clean, adversarial, labels = logits()
    terms = alp_terms(clean, adversarial, labels, lam=0.5, mixed=False)
    expected = F.cross_entropy(adversarial, labels) + 0.5 * F.mse_loss(clean, adversarial)
    torch.testing.assert_close(total(terms), expected)


def test_mixed_is_the_published_codes_joint_batch() -> None:
    clean, adversarial, labels = logits()
    terms = alp_terms(clean, adversarial, labels, lam=0.5, mixed=True)
    joint = F.cross_entropy(torch.cat((clean, adversarial)), torch.cat((labels, labels)))
    torch.testing.assert_close(total(terms), joint + 0.5 * F.mse_loss(clean, adversarial))


def test_mixed_changes_the_cross_entropy_only() -> None:
    """Without it, clean logits have no part in the cross-entropy: shown on the gradient."""
    clean, adversarial, labels = logits()
    for mixed in (False, True):
        clean.requires_grad_(True)
        terms = alp_terms(clean, adversarial, labels, lam=0.5, mixed=mixed)
        ce_gradient = torch.autograd.grad(terms["ce"].values.sum() + 0 * clean.sum(), clean, retain_graph=True)[0]
        assert bool(ce_gradient.any()) == mixed
        (pairing_gradient,) = torch.autograd.grad(terms["pairing"].values.sum(), clean)
        torch.testing.assert_close(pairing_gradient, 2 * (clean.detach() - adversarial) / 4)


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients(mixed: bool) -> None:
    clean, adversarial, labels = logits()
    assert torch.autograd.gradcheck(
        lambda a, b: total(alp_terms(a, b, labels, 0.5, mixed)),
        (clean.requires_grad_(True), adversarial.requires_grad_(True)),
    )


def test_huge_and_equal_logits_are_finite() -> None:
    clean = (1e4 * torch.eye(3)).requires_grad_(True)
    for adversarial in (1e4 * torch.eye(3).roll(1, 0), clean):
        loss = total(alp_terms(clean, adversarial, torch.arange(3), 0.5, True))
        assert loss.isfinite()
        assert torch.autograd.grad(loss, clean)[0].isfinite().all()


def test_a_negative_weight_is_an_error() -> None:
    with pytest.raises(InputError, match=r"method\.lam: expected a weight of at least 0, got -1"):
        ALP(lam=-1)
