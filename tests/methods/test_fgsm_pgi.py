"""FGSM-PGI's and FGSM-PGK's loss against the authors' values and a plain loop, and what each setting changes."""

import pytest
import torch
from torch import nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import FGSMPGI, FGSMPGK, Perturbed, total
from toughen.methods.fgsm_pgi import prior_guided_terms, relaxed
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


@pytest.mark.parametrize("factor", [0.5, 0.7])
def test_reference(reference: dict, factor: float) -> None:
    expected = reference["expected"]["fgsm_pgk"]
    terms = prior_guided_terms(reference["adv"], reference["init"], reference["labels"], factor, lam=5.6)
    found = {name: term.values.mean().item() for name, term in terms.items()}
    assert found["adversarial_ce"] == pytest.approx(expected[f"relaxed_ce_factor_{factor}"], abs=1e-6, rel=0)
    assert found["mse"] == pytest.approx(expected["mse_final_initial"], abs=1e-6, rel=0)
    assert [term.weight for term in terms.values()] == [1.0, 5.6]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_relaxed_labels_in_a_plain_loop(classes: int) -> None:
    labels = torch.arange(classes)
    found = relaxed(labels, torch.zeros(classes, classes, dtype=torch.float64), factor=0.9)
    for n in range(classes):
        for k in range(classes):
            assert found[n, k].item() == pytest.approx(0.9 if k == labels[n] else 0.1 / (classes - 1))


def test_soft_labels_are_relaxed_class_by_class() -> None:
    logits = torch.zeros(2, 4)
    mixed = torch.tensor([[0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    found = relaxed(mixed, logits, factor=0.6)
    pure = relaxed(torch.arange(4), torch.zeros(4, 4), factor=0.6)
    torch.testing.assert_close(found[0], 0.3 * pure[0] + 0.7 * pure[1])
    torch.testing.assert_close(found[1], pure[3])
    torch.testing.assert_close(found.sum(1), torch.ones(2))


def test_a_factor_of_one_leaves_the_label() -> None:
    assert torch.equal(relaxed(torch.tensor([2]), torch.zeros(1, 3), 1.0), torch.tensor([[0.0, 0.0, 1.0]]))


def test_a_label_that_says_nothing_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"method\.factor: expected more than 1/2 with 2 classes.*use --method\.factor 0.8"
    ):
        relaxed(torch.tensor([0]), torch.zeros(1, 2), 0.5)
    relaxed(torch.tensor([0]), torch.zeros(1, 2), 0.8)


def test_gradcheck() -> None:
    draws = torch.Generator().manual_seed(0)
    final, initial = (torch.randn(3, 5, generator=draws, dtype=torch.float64, requires_grad=True) for _ in range(2))
    labels = torch.tensor([0, 4, 2])
    assert torch.autograd.gradcheck(lambda a, b: total(prior_guided_terms(a, b, labels, 0.5, 5.6)), (final, initial))


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_extreme_logits_are_finite(size: float) -> None:
    final = (size * torch.eye(4)).requires_grad_(True)
    initial = (-size * torch.eye(4)).requires_grad_(True)
    loss = total(prior_guided_terms(final, initial, torch.arange(4), 0.5, 5.6))
    loss.backward()
    assert all(tensor.isfinite().all() for tensor in (loss, final.grad, initial.grad))


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN(10, 1, width=4)


def batch() -> Batch:
    draws = torch.Generator().manual_seed(1)
    return Batch(torch.rand(6, 1, 8, 8, generator=draws), torch.arange(6), torch.arange(6))


def perturbed() -> Perturbed:
    draws = torch.Generator().manual_seed(2)
    return Perturbed(*(torch.rand(6, 1, 8, 8, generator=draws) for _ in range(2)))


def gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("make", [FGSMPGI, FGSMPGK])
def test_each_weight_scales_its_own_gradient(model: nn.Module, make: type[FGSMPGI]) -> None:
    parts = {}
    for lam in (0.0, 1.0, 3.0):
        method = make(lam=lam)
        parts[lam] = gradient(model, total(method.terms(model, batch(), perturbed())))
    torch.testing.assert_close(parts[3.0] - parts[0.0], 3 * (parts[1.0] - parts[0.0]), rtol=1e-3, atol=1e-5)
    final = model(perturbed().images).log_softmax(1)
    target = relaxed(batch().labels, final, 0.5)
    torch.testing.assert_close(parts[0.0], gradient(model, -(target * final).sum(1).mean()), rtol=1e-4, atol=1e-6)


def test_the_attack_raises_the_relaxed_cross_entropy(model: nn.Module) -> None:
    """With a factor near 1/K it is another attack than on the label: the step follows the loss that is minimised."""
    method = FGSMPGI(factor=0.11).under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    method.allocate_memory(6, (1, 8, 8))
    found = method.perturb(model, batch())
    start = found.initial.clone().requires_grad_(True)
    log_p = model.eval()(start).log_softmax(1)
    target = relaxed(batch().labels, log_p, 0.11)
    (slope,) = torch.autograd.grad(-(target * log_p).sum(), start)
    step = (found.initial + 0.1 * slope.sign() - batch().images).clamp(-0.1, 0.1)
    torch.testing.assert_close(found.images, (batch().images + step).clamp(0, 1))


def test_fgsm_pgk_measures_the_share_that_held(model: nn.Module) -> None:
    method = FGSMPGK()
    assert method.attack_failure_rate() == 1
    assert FGSMPGI().attack_failure_rate() is None
    found = perturbed()
    initial = model(found.initial).argmax(1)
    labels = torch.where(torch.arange(6) < 4, initial, (initial + 1) % 10)  # 4 are right at the start
    final = model(found.images).argmax(1)
    expected = min(1.0, int((final == labels).sum()) / 4)
    method.terms(model, Batch(batch().images, labels, torch.arange(6)), found)
    assert method.attack_failure_rate().item() == pytest.approx(expected)
    assert not method.held.requires_grad


@pytest.mark.parametrize(
    ("settings", "name"), [({"lam": -1.0}, "lam"), ({"factor": 0.0}, "factor"), ({"factor": 1.1}, "factor")]
)
def test_settings_out_of_range(settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected"):
        FGSMPGI(**settings)
