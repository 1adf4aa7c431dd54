"""GradAlign: the angle between gradients, and what a second derivative has to hold against."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from toughen.attacks import GradientAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import GradAlign, total
from toughen.methods.grad_align import misalignment, pixel_gradient
from toughen.models import ResNet18, SmallCNN
from toughen.models.sparing import Sparing
from toughen.threat import ThreatModel
from toughen.training.compile import CompiledPasses

EPS = 0.1


def batch(dtype: torch.dtype = torch.float32) -> Batch:
    draws = torch.Generator().manual_seed(0)
    return Batch(torch.rand(6, 1, 8, 8, generator=draws, dtype=dtype), torch.arange(6))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_misalignment_in_plain_loops() -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 1, 2, 3, generator=draws, dtype=torch.float64) for _ in range(2))
    for n, found in enumerate(misalignment(first, second)):
        a, b = first[n].flatten().tolist(), second[n].flatten().tolist()
        product = sum(x * y for x, y in zip(a, b, strict=True))
        assert found.item() == pytest.approx(1 - product / math.hypot(*a) / math.hypot(*b))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_misalignment_of_gradients_of_any_size(size: float) -> None:
    first = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    second = (size * torch.tensor([[4.0, 3.0], [1.0, 2.0]])).view(2, 1, 1, 2).requires_grad_(True)
    found = misalignment(first, second)
    torch.testing.assert_close(found, torch.tensor([1 - 24 / 25, 0.0]))
    found.sum().backward()
    assert second.grad.isfinite().all()


class Smooth(nn.Module):
    """With BatchNorm, and curved everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(4 * images)).tanh().mean((2, 3)))


def test_the_loss_has_the_slope_of_its_finite_differences() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Smooth().double().train()
    method = GradAlign(lam=3.0).under(ThreatModel("linf", EPS), generator())
    data = batch(torch.float64)
    perturbed = method.perturb(model, data)  # the first gradient is a fixed target
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(total(method.terms(model, data, perturbed)), parameters)
    draws = torch.Generator().manual_seed(2)
    for parameter, slope in zip(parameters, slopes, strict=True):
        direction = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
        values = []
        for move in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += move * direction
            values.append(total(method.terms(model, data, perturbed)).item())
            with torch.no_grad():
                parameter -= move * direction
        assert (slope * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8)
    alone = torch.autograd.grad(method.terms(model, data, perturbed)["misalignment"].values.mean(), model.conv.weight)
    assert alone[0].abs().max() > 1e-3  # what is compared has a part of the second order


def test_a_linear_model_is_aligned_everywhere() -> None:
    """Two classes: the gradient has one direction at every point, and the step is its sign."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    method = GradAlign().under(ThreatModel("linf", EPS), generator())
    data = batch()
    grey = Batch(0.3 + 0.4 * data.images, torch.zeros(6, dtype=torch.int64))
    perturbed = method.perturb(model, grey)
    assert method.terms(model, grey, perturbed)["misalignment"].values.abs().max() < 1e-6
    uphill = (model[1].weight[1] - model[1].weight[0]).sign().view(1, 1, 8, 8)
    torch.testing.assert_close(perturbed.images - grey.images, EPS * uphill.expand(6, -1, -1, -1).detach())
    method.threat.check(perturbed.noisy, grey.images)


def test_an_attack_in_eval_mode_has_the_gradient_taken_again() -> None:
    model = SmallCNN(10, 1, width=4).train()
    attack = GradientAttack(steps=1, start="clean")
    method = GradAlign(attack=attack).under(ThreatModel("linf", EPS), generator())
    perturbed = method.perturb(model, batch())
    assert perturbed.gradient is None
    again = perturbed._replace(gradient=pixel_gradient(model, batch().images, batch().labels, differentiable=False))
    found, expected = (method.terms(model, batch(), each)["misalignment"].values for each in (perturbed, again))
    torch.testing.assert_close(found, expected)


class Attentive(nn.Module):
    """One attention over the rows of an image, whose fused form has no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.fc = nn.Linear(8, 24), nn.Linear(8, 6)

    def forward(self, images: Tensor) -> Tensor:
        q, k, v = self.project(images).chunk(3, dim=-1)
        return self.fc(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_attention_has_a_second_derivative() -> None:
    model = Attentive()
    GradAlign().under(ThreatModel("linf", EPS), generator())(model, batch()).backward()
    assert model.project.weight.grad.isfinite().all()


@pytest.mark.nightly
def test_compiled_code_is_left_where_a_second_derivative_is_taken() -> None:
    model = Attentive()
    passes = CompiledPasses(model, 6)
    passes.compiled = pytest.fail  # would be called for this batch
    with passes.on():
        pixel_gradient(model, batch().images, batch().labels, differentiable=True)
    assert not model._forward_hooks


def test_layers_that_are_computed_again_have_a_second_derivative() -> None:
    found = []
    for spares in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = ResNet18(6, 1, width=2).train()
        with Sparing(model).on() if spares else nullcontext():
            GradAlign(lam=1.0).under(ThreatModel("linf", EPS), generator())(model, batch()).backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    torch.testing.assert_close(*found)


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match=r"method\.lam: expected"):
        GradAlign(lam=-1.0)
