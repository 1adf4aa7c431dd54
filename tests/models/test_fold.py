"""The folded replica gives the network's own eval-mode logits and gradients, and follows its training."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from toughen.attacks import PGD
from toughen.losses import cross_entropy
from toughen.models import PreActResNet18, ResNet18, SmallCNN, Timm, Torchvision, WideResNet, build_model
from toughen.models.fold import FoldedReplica, agrees, exactly, fold
from toughen.threat import ThreatModel

NETWORKS = [
    partial(SmallCNN, width=4),
    partial(ResNet18, width=4),
    partial(PreActResNet18, width=4),
    partial(WideResNet, depth=10, width=1),
    partial(Timm, name="resnet18"),
    partial(Torchvision, name="resnet18"),
]


def trained_a_little(network: partial) -> nn.Module:
    """With BatchNorm statistics and parameters that are not those of a new network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(network, num_classes=5, in_channels=3, mean=[0.4] * 3, std=[0.2] * 3)
        model.train()
        for _ in range(3):
            model(torch.rand(8, 3, 32, 32))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return model


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(x), torch.arange(len(x))).sum(), x)[0]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.func.__name__)
def test_same_logits_and_gradients(network: partial) -> None:
    model = trained_a_little(network)
    replica = fold(model, images(), torch.float32)
    assert replica is not None
    assert model.training  # left as it was
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(replica(images()), model(images()), rtol=1e-4, atol=1e-4)
    expected, found = gradient(model, images()), gradient(replica, images())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert all(not p.requires_grad for p in replica.parameters())


def test_convolutions_take_over_their_batchnorms() -> None:
    replica = FoldedReplica(trained_a_little(partial(ResNet18, width=4)), torch.float32, torch.channels_last)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in replica.modules())


def test_refresh_follows_weights_and_statistics() -> None:
    model = trained_a_little(partial(ResNet18, width=4))
    replica = fold(model, images(), torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cross_entropy(model(images()), torch.arange(4)).mean().backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        assert not torch.allclose(replica(images()), model(images()), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(replica.refresh()(images()), model(images()), rtol=1e-4, atol=1e-4)


class Scaled(nn.Sequential):
    """A network with a parameter of its own, outside its layers."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * super().forward(images)


def test_refresh_follows_the_networks_own_parameters_and_new_tensors() -> None:
    model = Scaled().eval()
    replica = fold(model, images(), torch.float32)
    with torch.no_grad():
        model.scale.mul_(5)
        torch.testing.assert_close(replica.refresh()(images()), model(images()))
        model.load_state_dict({name: 3 * tensor for name, tensor in model.state_dict().items()}, assign=True)
        torch.testing.assert_close(replica.refresh()(images()), model(images()))


@pytest.mark.parametrize("network", NETWORKS[:2], ids=lambda n: n.func.__name__)
def test_bf16_perturbations_point_the_same_way_and_reach_the_same_loss(network: partial) -> None:
    model = trained_a_little(network)
    replica = fold(model, images(), torch.bfloat16)
    model.eval()
    agreement = (
        gradient(model, images(16).clamp(0.1, 0.9)[:5]).sign()
        == gradient(replica, images(16).clamp(0.1, 0.9)[:5]).sign()
    )
    assert agreement.float().mean() > 0.9
    labels, threat, attack = torch.arange(5), ThreatModel("linf", 8 / 255), PGD(steps=10)
    reached = []
    for attacked in (model, replica):
        adversarial = attack(attacked, images(5), labels, threat, torch.Generator().manual_seed(0))
        threat.check(adversarial, images(5))
        with torch.no_grad():
            reached.append(cross_entropy(model(adversarial), labels).mean().item())
    with torch.no_grad():
        clean = cross_entropy(model(images(5)), labels).mean().item()
    assert reached[1] - clean > 0.97 * (reached[0] - clean)


class Branching(nn.Module):
    """Its forward depends on values: cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 32 * 32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1)) if x.mean() > 0 else x.flatten(1)[:, :5]


class Shared(nn.Module):
    """One convolution before two BatchNorms: folding one would spoil the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.a, self.b = nn.BatchNorm2d(5), nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return (self.a(self.conv(x)) + self.b(self.conv(x.flip(3)))).mean((2, 3))


def test_what_cannot_be_traced_is_left_alone() -> None:
    assert fold(Branching(), images(), torch.float32) is None


def test_a_shared_convolution_is_not_folded() -> None:
    model = Shared().train()
    model(images())
    replica = fold(model, images(), torch.float32)
    assert replica is not None
    with torch.no_grad():
        torch.testing.assert_close(replica(images()), model.eval()(images()), rtol=1e-4, atol=1e-4)


class Standardised(nn.Conv2d):
    """Weight standardisation: a convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, centred / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


class LowRank(nn.Module):
    """A convolution whose weight is a sum of its own and a product, as in LoRA; called, or with its weight taken."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.left = nn.Parameter(0.1 * torch.randn(convolution.out_channels, 2))
        self.right = nn.Parameter(0.1 * torch.randn(2, convolution.weight[0].numel()))

    def forward(self, x: Tensor) -> Tensor:
        added = (self.left @ self.right).view_as(self.convolution.weight)
        return nn.functional.conv2d(x, self.convolution.weight + added, padding=1)


class TakenTwice(nn.Module):
    """A convolution that is called once, and whose weight is also read elsewhere."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, nn.BatchNorm2d(convolution.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) + 0.5 * nn.functional.conv2d(x, self.convolution.weight, padding=1)


class Reused(nn.Module):
    """One convolution, two BatchNorms behind it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.first, self.second = (nn.BatchNorm2d(convolution.out_channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.convolution(x)) - self.second(self.convolution(x.flip(-1)))


class Tied(nn.Module):
    """Two convolutions with one weight, each with its BatchNorm."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.one, self.other = convolution, nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1)
        self.other.weight = self.one.weight
        self.first, self.second = (nn.BatchNorm2d(convolution.out_channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.one(x)) - self.second(self.other(x.flip(-1)))


def hooked(convolution: nn.Conv2d) -> nn.Conv2d:
    convolution.register_forward_hook(lambda module, inputs, output: output.relu())
    return convolution


def own_forward(convolution: nn.Conv2d) -> nn.Conv2d:
    convolution.forward = lambda x: 2 * nn.functional.conv2d(x.tanh(), convolution.weight, padding=1)
    return convolution


KINDS = {
    "plain": lambda c: c,
    "spectral_norm": parametrizations.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "old spectral_norm": nn.utils.spectral_norm,
    "old weight_norm": nn.utils.weight_norm,
    "pruned": lambda c: prune.l1_unstructured(c, "weight", 0.5),
    "weight standardisation": lambda c: Standardised(c.in_channels, c.out_channels, 3, padding=1, bias=False),
    "low rank": LowRank,
    "taken twice": TakenTwice,
    "reused": Reused,
    "tied": Tied,
    "hook": hooked,
    "own forward": own_forward,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving", "cumulative"])
@pytest.mark.parametrize("kind", KINDS)
def test_never_another_network(kind: str, momentum: float | None) -> None:
    """After real steps, at which BatchNorm is no longer the identity, a replica is the network, or there is none."""
    with torch.random.fork_rng():
        torch.manual_seed(0)

        def block(inputs: int) -> list[nn.Module]:
            convolution = KINDS[kind](nn.Conv2d(inputs, 8, 3, padding=1, bias=False))
            return [convolution, nn.BatchNorm2d(8, momentum=momentum), nn.ReLU()]

        model = nn.Sequential(*block(1), *block(8), nn.Flatten(), nn.Linear(8 * 64, 10))
        x, y = torch.rand(64, 1, 8, 8), torch.randint(0, 10, (64,))
    replica = fold(model, x[:2], torch.float32)
    assert replica is not None or kind not in ("plain", "spectral_norm", "reused", "tied")
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    for _ in range(10):
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(x), y).mean().backward()
        optimizer.step()
    model.eval()
    for found in (replica, fold(model, x[:2], torch.float32)):
        if found is not None:
            found.refresh()
            with torch.no_grad():
                torch.testing.assert_close(found(x), model(x), rtol=1e-3, atol=1e-3)
            expected = torch.autograd.grad(cross_entropy(model(x1 := x.clone().requires_grad_()), y).sum(), x1)[0]
            given = torch.autograd.grad(cross_entropy(found(x2 := x.clone().requires_grad_()), y).sum(), x2)[0]
            assert float((given - expected).norm() / expected.norm()) < 0.02


def test_a_replica_of_another_function_is_found_out() -> None:
    model = trained_a_little(partial(ResNet18, width=4))
    replica = fold(model, images(), torch.float32)
    assert replica is not None and agrees(model, replica, images(), torch.float32)
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_var.mul_(1.5)
    assert not agrees(model, replica, images(), torch.float32)
    assert agrees(model, replica.refresh(), images(), torch.float32)


def test_a_bf16_replica_is_proved_through_its_fp32_companion() -> None:
    """A difference of a tenth, which bf16's rounding may hide, is not taken for rounding."""
    model = trained_a_little(partial(ResNet18, width=4))
    replica = fold(model, images(), torch.bfloat16)
    assert replica is not None
    replica.exact = fold(model, images(), torch.float32)
    assert agrees(model, replica, images(), torch.bfloat16)
    with torch.no_grad():
        model.get_submodule("network.fc").weight.mul_(1.1)
    assert not agrees(model, replica, images(), torch.bfloat16)
    assert agrees(model, replica.refresh(), images(), torch.bfloat16)


def test_exactly_computes_in_fp32_and_leaves_everything_as_it_was() -> None:
    model = trained_a_little(partial(SmallCNN, width=4)).eval()
    replica = fold(model, images(), torch.bfloat16)
    assert replica is not None
    replica.exact = fold(model, images(), torch.float32)
    with torch.no_grad():
        expected = model(images())
        rounded = replica(images())
        for network in (model, replica):
            with torch.autocast("cpu", torch.bfloat16), exactly(network, images()):
                torch.testing.assert_close(network(images()), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(rounded, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(replica(images()), rounded)


def test_hooks_of_all_modules_see_every_batchnorm() -> None:
    model = trained_a_little(partial(SmallCNN, width=4)).eval()

    def doubled(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return 2 * output if isinstance(module, nn.BatchNorm2d) else None

    handle = nn.modules.module.register_module_forward_hook(doubled)
    try:
        replica = FoldedReplica(model, torch.float32, torch.channels_last)
        with torch.no_grad():
            torch.testing.assert_close(replica(images()), model(images()), rtol=1e-4, atol=1e-4)
    finally:
        handle.remove()
