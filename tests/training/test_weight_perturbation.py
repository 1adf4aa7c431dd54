from collections.abc import Callable

import pytest
import torch
from cases import CASES, Case
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import Method, Standard, total
from toughen.models import SmallCNN
from toughen.threat import ThreatModel
from toughen.training import AWP

ROWS = [pytest.param(case, id=f"{name}-{i}") for name, rows in CASES.items() for i, case in enumerate(rows)]


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3, bias=True)
        )
    return model.double().train()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(6) % 3


def loss_of(model: nn.Module) -> Callable[[], Tensor]:
    images, labels = batch()
    return lambda: F.cross_entropy(model(images), labels)


def by_hand(model: nn.Module, gamma: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Moved weights and the gradients there, tensor by tensor from the formula."""
    images, labels = batch()
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    F.cross_entropy(functional_call(model, (weights, buffers), (images,)), labels).backward()
    moved = {}
    for name, weight in weights.items():
        w, g = weight.detach(), weight.grad
        if w.ndim > 1:
            length_w = sum(x * x for x in w.flatten().tolist()) ** 0.5
            length_g = sum(x * x for x in g.flatten().tolist()) ** 0.5
            w = w + gamma * length_w / length_g * g
        moved[name] = w.clone().requires_grad_()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    F.cross_entropy(functional_call(model, (moved, buffers), (images,)), labels).backward()
    return {name: w.detach() for name, w in moved.items()}, {name: w.grad for name, w in moved.items()}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_moved_weights_and_gradients_are_the_plain_formula() -> None:
    model, before = network(), state(network())
    loss = loss_of(model)
    expected, gradients = by_hand(model, gamma=0.03)
    with AWP(gamma=0.03).moved(model, Standard(), loss):
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight.detach(), expected[name])
            assert torch.equal(weight, before[name]) == (weight.ndim <= 1)
        loss().backward()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])  # bit by bit
        torch.testing.assert_close(weight.grad, gradients[name])


@pytest.mark.parametrize("gamma", [1e-4, 0.005, 0.05])
def test_the_loss_is_higher_at_the_moved_weights(gamma: float) -> None:
    model = network()
    loss = loss_of(model)
    before = loss().item()
    with AWP(gamma=gamma).moved(model, Standard(), loss):
        assert loss().item() > before


def test_rounding_is_undone_too() -> None:
    model = network().float()
    images, labels = batch()
    before = state(model)
    for _ in range(20):
        with AWP(gamma=0.7).moved(model, Standard(), lambda: F.cross_entropy(model(images.float()), labels)):
            pass
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


class WithPart(Standard):
    """Has a learnable part, a buffer that its loss changes, and a memory of every image."""

    memories = ("memory",)

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.register_buffer("held", torch.tensor(1.0))
        self.register_buffer("memory", torch.zeros(10**6, 1).expand(10**6, 10**6))  # too large to be copied

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.held.add_(1)
        return F.cross_entropy(self.part(logits), labels)


def test_the_pass_that_finds_the_direction_leaves_statistics_and_gradients() -> None:
    model, part = network(), nn.BatchNorm1d(3).double()
    method = WithPart(part)
    images, labels = batch()
    loss_of(model)().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    before, part_before = state(model), {**state(part), "held": method.held.clone()}
    with AWP().moved(model, method, lambda: method.loss(model(images), labels)):
        inside = {name: buffer.clone() for name, buffer in model.named_buffers()}
        assert all(torch.equal(buffer, before[name]) for name, buffer in inside.items())
        assert equal({**state(part), "held": method.held}, part_before)  # nor are the method's own parts moved
    assert equal(state(model), before)
    for name, weight in model.named_parameters():
        assert torch.equal(weight.grad, gradients[name])  # what was accumulated is still there
    assert all(weight.grad is None for weight in method.parameters())


def test_weights_and_statistics_come_back_after_errors() -> None:
    model = network()
    before = state(model)
    loss = loss_of(model)

    def broken() -> Tensor:
        loss()
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"), AWP().moved(model, Standard(), broken):
        raise AssertionError("never reached")
    with pytest.raises(KeyboardInterrupt), AWP().moved(model, Standard(), loss):
        raise KeyboardInterrupt
    assert equal(state(model), before)


def test_processes_move_alike() -> None:
    model = network()
    loss = loss_of(model)
    other = [torch.ones_like(weight) for weight in model.parameters() if weight.ndim > 1]
    before = state(model)
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    own = torch.autograd.grad(loss(), weights)
    model.load_state_dict(before)

    def mean(gradients: list[Tensor]) -> list[Tensor]:
        return [(mine + theirs) / 2 for mine, theirs in zip(gradients, other, strict=True)]

    with AWP(gamma=0.1).moved(model, Standard(), loss, mean):
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                g = (own[0 if name == "0.weight" else 1] + 1) / 2
                expected = before[name] + 0.1 * before[name].norm() * g / g.norm()
                torch.testing.assert_close(weight.detach(), expected)


def test_weights_without_a_gradient_stay() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    model.unused = nn.Linear(2, 2).double()
    images, labels = batch()
    before = state(model)
    with AWP().moved(model, Standard(), lambda: F.cross_entropy(model[4](model[3](model[:3](images))), labels)):
        moved = [name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])]
    assert moved == ["4.weight"]


def test_half_precision_uses_the_moved_weights() -> None:
    images, labels = batch()
    images = images.float()

    def gradient(model: nn.Module) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(images).float(), labels)
        return torch.autograd.grad(loss, model[4].weight)[0]

    def loss() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(model(images).float(), labels)

    model = network().float()
    with AWP(gamma=0.5).moved(model, Standard(), loss):
        inside = gradient(model)
        copied = network().float()
        copied.load_state_dict(model.state_dict())
    assert torch.equal(inside, gradient(copied))
    assert not torch.equal(inside, gradient(model))


@pytest.mark.parametrize("case", ROWS)
def test_every_method_can_be_trained_with_it(case: Case) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 1, 8, 8, generator=generator)
    labels, views = torch.randint(10, (8,), generator=generator), (images.flip(2), images.flip(3))
    one = Batch(images, labels, torch.arange(8), views=views)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method: Method = case.make().under(ThreatModel("linf", 8 / 255), generator)
        method.allocate_memory(8, (1, 8, 8))
        model = method.prepare(SmallCNN(10, 1, width=4)).train()
    method.begin_epoch(model, 0, one)
    perturbed = method.perturb(model, one)
    before, parts = state(model), state(method)

    def loss() -> Tensor:
        return total(method.terms(model, one, perturbed))

    with AWP(gamma=0.01).moved(model, method, loss):
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
        assert equal(state(method), parts)
        moved = total(method.terms(model, one, perturbed))
        moved.backward()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert moved.isfinite()
    assert any(weight.grad is not None for weight in model.parameters())


def test_epochs_are_counted_from_one() -> None:
    assert [AWP(start=3).due(epoch) for epoch in range(4)] == [False, False, True, True]
    assert AWP(start=1).due(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0.0}, r"awp\.gamma: expected a number above 0 such as 0\.005, got 0"),
        ({"gamma": float("inf")}, r"awp\.gamma"),
        ({"start": 0}, r"awp\.start: expected at least 1, got 0"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AWP(**settings)
