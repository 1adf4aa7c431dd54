"""IKL: the formula in plain loops, what the paper proves of the KL, and the means of the classes."""

import math

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.losses import kl
from toughen.methods import IKL, Perturbed
from toughen.methods.ikl import soft_cross_entropy, weighted_mse
from toughen.threat import ThreatModel


def logits(n: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (2 * torch.randn(n, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return first.requires_grad_(True), second.requires_grad_(True)


def test_the_formula_in_plain_loops() -> None:
    clean, adversarial = logits()
    weights = torch.rand(5, 4, dtype=torch.float64).softmax(1)
    expected, soft = [], []
    for z, a, w in zip(clean.tolist(), adversarial.tolist(), weights.tolist(), strict=True):
        pairs = [(j, k) for j in range(4) for k in range(4)]
        expected.append(sum(w[j] * w[k] * ((z[j] - z[k]) - (a[j] - a[k])) ** 2 for j, k in pairs) / 4)
        p, q = ([math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in (z, a))
        soft.append(-sum(x * math.log(y) for x, y in zip(p, q, strict=True)))
    assert weighted_mse(clean, adversarial, weights).tolist() == pytest.approx(expected)
    assert soft_cross_entropy(clean, adversarial).tolist() == pytest.approx(soft)


def test_with_weights_of_the_image_the_two_parts_have_the_gradients_of_the_kl() -> None:
    """Theorem 1 of the paper: wMSE moves the clean logits as KL does, the soft cross-entropy the adversarial ones."""
    clean, adversarial = logits()
    of_clean, of_adversarial = torch.autograd.grad(kl(clean, adversarial).sum(), (clean, adversarial))
    wmse = weighted_mse(clean, adversarial, clean.detach().softmax(1)).sum()
    torch.testing.assert_close(torch.autograd.grad(wmse, clean)[0], of_clean)
    soft = soft_cross_entropy(clean, adversarial).sum()
    torch.testing.assert_close(torch.autograd.grad(soft, adversarial)[0], of_adversarial)


class Lookup(nn.Module):
    """Gives its images as logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) + 0 * self.unused


def test_the_means_are_those_of_the_epoch_before_and_a_class_without_images_keeps_its_own() -> None:
    method = IKL(temperature=2.0).under(ThreatModel("linf", 0.1))
    model = method.prepare(Lookup(3))
    first, second = torch.rand(4, 3, 1, 1), torch.rand(2, 3, 1, 1)
    probe = Batch(first, torch.tensor([0, 0, 1, 0]))
    method.begin_epoch(model, 0, probe)
    assert torch.equal(method.class_means, torch.full((3, 3), 1 / 3))
    for batch in (probe, Batch(second, torch.tensor([1, 0]))):
        perturbed = Perturbed(batch.images)
        method.terms(model, batch, perturbed)
        method.terms(model, batch, perturbed)  # as adversarial weight perturbation does: counts once
        method.after_loss(batch, perturbed)
    method.begin_epoch(model, 1, probe)
    p = [(images.flatten(1) / 2).softmax(1) for images in (first, second)]
    torch.testing.assert_close(method.class_means[0], torch.stack([p[0][0], p[0][1], p[0][3], p[1][1]]).mean(0))
    torch.testing.assert_close(method.class_means[1], torch.stack([p[0][2], p[1][0]]).mean(0))
    assert torch.equal(method.class_means[2], torch.full((3,), 1 / 3))
    assert not method.sums.any()


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match=r"method\.temperature"):
        IKL(temperature=0)
    with pytest.raises(InputError, match=r"method\.inner"):
        IKL(inner="ce")
    with pytest.raises(InputError, match="prepare"):
        IKL(attack=GradientAttack(steps=1))(Lookup(2), torch.rand(2, 2, 1, 1), torch.tensor([0, 1]))
