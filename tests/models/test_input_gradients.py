"""Models whose gradient attacks would stumble over are reported like the same network without the obstacle."""

import pytest
import torch
from torch import Tensor, nn

from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.evaluation import Evaluation, evaluate_model
from toughen.models.input_gradients import FiniteGradients, Recomputed
from toughen.threat import ThreatModel


class Around(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Clamped(Around):
    """The identity on images, then the network; torch's clamp has slope 0 at 0 and 1."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.clamp(0, 1))


class OnePass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor) -> Tensor:
        ctx.used = False
        return images.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        if ctx.used or torch._C._autograd._get_current_graph_task_keep_graph():
            raise RuntimeError("this backward function requires retain_graph=False")
        ctx.used = True
        return gradient


class Donated(Around):
    """As a network compiled by torch: its backward pass refuses retain_graph=True."""

    def forward(self, images: Tensor) -> Tensor:
        return self.network(OnePass.apply(images))


def evaluation(model: nn.Module, images: ImageSet, threat: ThreatModel, budget: str, n: int = 60) -> Evaluation:
    settings = {"budget": budget, "test_images": n, "checks": False, "device": "cpu"}
    return evaluate_model(model, images, threat, **settings)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.08), ThreatModel("l2", 0.5), ThreatModel("l1", 2.0)], ids=str)
@pytest.mark.parametrize("model", [Clamped, Donated])
def test_the_figure_is_that_of_the_plain_network(network, images, threat: ThreatModel, model: type[Around]):
    plain = evaluation(network, images, threat, "quick").verdicts.robust()
    found = evaluation(model(network), images, threat, "quick").verdicts.robust()
    assert 0 < plain.sum() < 60
    assert abs(int(plain.sum()) - int(found.sum())) <= (1 if model is Clamped else 0)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("model", [Clamped, Donated])
def test_autoattack_too(network, images, short_autoattack, model: type[Around]):
    """FAB asks for several gradients of one pass."""
    threat = ThreatModel("linf", 0.06)
    plain = evaluation(network, images, threat, "standard", 20).verdicts.robust()
    found = evaluation(model(network), images, threat, "standard", 20).verdicts.robust()
    assert 0 < plain.sum() < 20
    assert abs(int(plain.sum()) - int(found.sum())) <= (1 if model is Clamped else 0)


class Roots(nn.Module):
    """Linear in the lower rows; black upper rows go through a root with weight 0, whose gradient is NaN."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        z = (torch.cat([flat[:, :12].sqrt(), flat[:, 12:]], 1) * self.weights).sum(1) + self.bias
        return torch.stack([-z / 2, z / 2], 1)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize(("norm", "eps", "dual"), [("linf", 0.02, 1.0), ("l2", 0.1, 2.0), ("l1", 0.3, float("inf"))])
def test_nan_in_a_gradient_against_the_closed_form(short_autoattack, short_further, norm: str, eps: float, dual: float):
    """An image is held iff its |z| exceeds eps times the dual norm of the weights."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(64, 192, (40, 1, 6, 6), dtype=torch.uint8, generator=generator)
    pixels[:, :, :2] = 0
    weights = torch.randn(36, generator=generator)
    weights[:12] = 0
    z = (pixels.float() / 255).flatten(1) @ weights
    bias = -z.median()
    z = z + bias
    exact = int((z.abs() > eps * torch.linalg.vector_norm(weights, dual)).sum())
    held = ImageSet(Decoded(pixels), (z > 0).long(), ("a", "b"), "linear")
    for budget in ("quick", "standard"):
        found = evaluation(Roots(weights, bias), held, ThreatModel(norm, eps), budget, 40)
        assert abs(found.result["robust_accuracy"]["held"] - exact) <= 1
        assert "gradients_not_finite" in {finding["name"] for finding in found.result["preflight"]}
    assert 0 < exact < 40


def test_finite_gradients_are_passed_on_bit_for_bit(network, batch):
    grads = []
    for model in (network, FiniteGradients(network), Recomputed(network)):
        x = batch[0].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).logsumexp(1).sum(), x)
        grads.append(gradient)
    assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])


def test_a_random_model_is_differentiated_at_its_own_draw(batch):
    model = Recomputed(nn.Sequential(nn.Dropout(0.5), nn.Flatten()))
    x = batch[0].clone().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        out = model(x)
        (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient.flatten(1) * x.flatten(1), out)
