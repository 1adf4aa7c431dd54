"""RegMix's terms against the reference values and plain loops, and what each setting changes."""

import math

import pytest
import torch
from torch import nn

from toughen.attacks import PGD
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.losses import kl
from toughen.methods import FGSMPGI, Perturbed, RegMix, total
from toughen.methods.regmix import amr_terms
from toughen.models import SmallCNN
from toughen.threat import ThreatModel


def mean_kl(first: torch.Tensor, second: torch.Tensor) -> float:
    """Written out: rows, classes, logarithms."""
    result = 0.0
    for p, q in zip(first.softmax(1).tolist(), second.softmax(1).tolist(), strict=True):
        result += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(first)
    return result


def test_reference(reference: dict) -> None:
    expected = reference["expected"]["regmix"]
    terms = amr_terms(reference["adv"], reference["init"], alpha=2.0, beta=0.5)
    assert terms["amr_final_to_init"].values.mean().item() == pytest.approx(
        expected["kl_final_to_initial"], abs=1e-6, rel=0
    )
    assert terms["amr_init_to_final"].values.mean().item() == pytest.approx(
        expected["kl_initial_to_final"], abs=1e-6, rel=0
    )
    agr = kl(reference["adv"], reference["clean"]).mean().item()
    assert agr == pytest.approx(expected["kl_final_to_clean"], abs=1e-6, rel=0)
    assert mean_kl(reference["adv"], reference["init"]) == pytest.approx(expected["kl_final_to_initial"], abs=1e-6)


@pytest.fixture
def model() -> nn.Module:
    """Outputs of an image do not depend on the others, so that terms can be checked one by one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN(10, 1, width=4).eval()


def batch() -> Batch:
    draws = torch.Generator().manual_seed(1)
    return Batch(torch.rand(6, 1, 8, 8, generator=draws), torch.arange(6), torch.arange(6))


def perturbed() -> Perturbed:
    draws = torch.Generator().manual_seed(2)
    return Perturbed(*(torch.rand(6, 1, 8, 8, generator=draws) for _ in range(2)))


def test_the_loss_is_the_formula(model: nn.Module) -> None:
    method = RegMix(alpha=0.7, beta=0.2, gamma=1.3)
    final, initial, clean = (model(x) for x in (perturbed().images, perturbed().initial, batch().images))
    ce = sum(-final[n].log_softmax(0)[n].item() for n in range(6)) / 6
    expected = ce + 0.7 * mean_kl(final, initial) + 0.2 * mean_kl(initial, final) + 1.3 * mean_kl(final, clean)
    assert total(method.terms(model, batch(), perturbed())).item() == pytest.approx(expected, rel=1e-5)


def test_the_mse_baseline_is_fgsm_pgks_regularizer(model: nn.Module) -> None:
    terms = RegMix(regularizer="mse", gamma=0.0).terms(model, batch(), perturbed())
    other = FGSMPGI(factor=1.0).terms(model, batch(), perturbed())
    assert list(terms) == list(other) == ["adversarial_ce", "mse"]
    for name in terms:
        assert terms[name].weight == other[name].weight
        torch.testing.assert_close(terms[name].values, other[name].values)


def gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("switched", ["alpha", "beta", "gamma"])
def test_a_weight_of_zero_takes_its_part_out_and_nothing_else(model: nn.Module, switched: str) -> None:
    weights = {"alpha": 0.7, "beta": 0.2, "gamma": 1.3}
    names = {"alpha": "amr_final_to_init", "beta": "amr_init_to_final", "gamma": "agr"}
    whole = RegMix(**weights).terms(model, batch(), perturbed())
    part = whole[names[switched]]
    without = RegMix(**{**weights, switched: 0.0}).terms(model, batch(), perturbed())
    assert set(whole) - set(without) == {names[switched]}
    torch.testing.assert_close(
        gradient(model, total(without)),
        gradient(model, total(whole))
        - gradient(model, total({"part": RegMix(**weights).terms(model, batch(), perturbed())[names[switched]]})),
        rtol=1e-4,
        atol=1e-6,
    )
    assert part.weight == weights[switched]


class Counted(nn.Module):
    """How many forward passes a step makes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.count = model, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return self.model(images)


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 4),
        ({"gamma": 0.0}, 3),
        ({"alpha": 0.0, "beta": 0.0}, 3),
        ({"alpha": 0.0, "beta": 0.0, "gamma": 0.0}, 2),
        ({"prior": False, "attack": PGD(steps=5)}, 8),
    ],
)
def test_a_part_that_is_switched_off_costs_nothing(model: nn.Module, settings: dict, passes: int) -> None:
    counted = Counted(model)
    method = RegMix(**settings).under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(0))
    method.allocate_memory(6, (1, 8, 8))
    method(counted, batch())
    assert counted.count == passes


def test_without_prior_it_starts_as_the_attack_does_and_keeps_no_memory(model: nn.Module) -> None:
    threat = ThreatModel("linf", 0.1)
    method = RegMix(prior=False, attack=PGD(steps=3)).under(threat, torch.Generator().manual_seed(5))
    method.allocate_memory(50_000, (3, 32, 32))
    assert method.perturbation is None
    found = method.perturb(model, batch())
    draws = torch.Generator().manual_seed(5)
    torch.testing.assert_close(found.initial, threat.random_start(batch().images, draws))
    draws = torch.Generator().manual_seed(5)
    expected = PGD(steps=3)(model, batch().images, batch().labels, threat, draws)
    torch.testing.assert_close(found.images, expected)


def test_with_prior_it_steps_as_fgsm_pgi_does_with_plain_labels(model: nn.Module) -> None:
    results = []
    for method in (RegMix(), FGSMPGI(factor=1.0)):
        method.under(ThreatModel("linf", 0.1), torch.Generator().manual_seed(5)).allocate_memory(6, (1, 8, 8))
        for _ in range(3):
            found = method.perturb(model, batch())
        results.append((found, method.perturbation))
    for one, other in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(results[0][1], results[1][1])


def test_the_share_that_held_is_known_where_the_start_is_compared(model: nn.Module) -> None:
    for settings, known in (
        ({}, True),
        ({"alpha": 0.0, "beta": 0.0}, False),
        ({"regularizer": "mse"}, True),
        ({"regularizer": "mse", "lam": 0.0}, False),
    ):
        method = RegMix(**settings)
        method.terms(model, batch(), perturbed())
        assert (method.attack_failure_rate() is not None) == known


def test_gradcheck() -> None:
    draws = torch.Generator().manual_seed(0)
    final, initial, clean = (
        torch.randn(3, 5, generator=draws, dtype=torch.float64, requires_grad=True) for _ in range(3)
    )

    def loss(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return total(amr_terms(a, b, 2.0, 0.5)) + kl(a, c).mean()

    assert torch.autograd.gradcheck(loss, (final, initial, clean))


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_extreme_logits_are_finite(size: float) -> None:
    final = (size * torch.eye(4)).requires_grad_(True)
    initial = (size * torch.eye(4).roll(1, 0)).requires_grad_(True)
    loss = total(amr_terms(final, initial, 2.0, 0.5))
    loss.backward()
    assert all(tensor.isfinite().all() for tensor in (loss, final.grad, initial.grad))


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "lam"])
def test_weights_out_of_range(name: str) -> None:
    with pytest.raises(InputError, match=rf"method\.{name}: expected a weight of at least 0, got -1"):
        RegMix(**{name: -1})


def test_unknown_regularizer() -> None:
    with pytest.raises(InputError, match=r"method\.regularizer: expected one of kl, mse, got 'l2'"):
        RegMix(regularizer="l2")
