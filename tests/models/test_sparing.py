"""Passes in less memory give what the plain ones give, bit by bit."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from toughen.models import PreActResNet18, ResNet18, SmallCNN, WideResNet
from toughen.models.sparing import Sparing, image_by_image, in_parts
from toughen.models.split_batchnorm import branch, split_batch_norms


def dropping() -> nn.Module:
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        spectral_norm(nn.Conv2d(4, 4, 3)),
        nn.BatchNorm2d(4),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 28 * 28, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "SmallCNN": lambda: SmallCNN(width=4),
    "PreActResNet18": lambda: PreActResNet18(width=4),
    "WideResNet": lambda: WideResNet(depth=10, width=1),
    "ResNet18": lambda: ResNet18(width=4),
    "torchvision": lambda: torchvision.models.mobilenet_v2(num_classes=10, width_mult=0.25),
    "timm": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, num_classes=10),
    "dropping": dropping,
}


class Kept:
    """Bytes that the forward passes inside keep for the backward pass."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    def of(self, network: nn.Module, images: Tensor) -> tuple[int, Tensor]:
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor):
            logits = network(images)
        own = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
        return sum(size for place, size in self.seen.items() if place not in own), logits


def step(network: nn.Module, images: Tensor) -> tuple[int, dict[str, Tensor]]:
    """Bytes kept by two passes, and all that they leave, with the draws of one seed."""
    torch.manual_seed(1)
    kept, first = Kept().of(network, images)
    second = network(images.flip(0))
    (first.square().sum() + second.sum()).backward()
    grads = {f"{name}.grad": weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    return kept, {"logits": first.detach(), **grads, **network.state_dict()}


@pytest.mark.parametrize(("name", "training"), [*((name, True) for name in NETWORKS), ("PreActResNet18", False)])
def test_a_sparing_step_is_the_plain_one_and_keeps_less(name: str, training: bool) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().train(training)
    other, images = copy.deepcopy(network), torch.rand(8, 3, 32, 32)
    plain, expected = step(network, images)
    sparing = Sparing(other)
    assert sparing.proved(other, images[:4])
    with sparing.on():
        less, found = step(other, images)
    assert expected.keys() == found.keys()
    for tensor in expected:
        assert torch.equal(expected[tensor], found[tensor]), tensor
    assert less < 0.8 * plain
    assert not any("forward" in vars(module) for module in other.modules())


def test_a_second_pass_has_the_branch_and_the_flags_of_the_first() -> None:
    torch.manual_seed(0)
    network = split_batch_norms(PreActResNet18(width=4))
    other, images = copy.deepcopy(network), torch.rand(8, 3, 16, 16)
    states = []
    for each, sparing in ((network, Sparing()), (other, Sparing(other))):
        with sparing.on():
            with branch(each, "clean"):
                clean = each(images)
            adversarial = each(images.flip(0))
            each.eval()  # last: a pass in train mode would change the statistics that its backward pass needs
            fixed = each(images)
            each.train()
            (adversarial - clean * fixed).square().sum().backward()
        grads = {f"{name}.grad": weight.grad for name, weight in each.named_parameters()}
        states.append({**each.state_dict(), **grads})
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_layers_that_are_watched_are_left() -> None:
    network, seen = PreActResNet18(width=4), []
    network.layer4[1].bn2.register_forward_hook(lambda module, inputs, output: seen.append(output.square().sum()))
    with Sparing(network).on():
        (network(torch.rand(4, 3, 16, 16)).sum() + seen[0]).backward()
    assert len(seen) == 1


class Unrepeatable(nn.Sequential):
    """A block that does not give the same twice."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


def test_a_network_whose_second_pass_is_another_is_not_believed() -> None:
    block = Unrepeatable(nn.Linear(4, 4), nn.Tanh())
    network = nn.Sequential(nn.Flatten(), block, *[nn.Linear(4, 4) for _ in range(4)])
    assert not Sparing(network).proved(network, torch.rand(2, 1, 2, 2))


def test_images_in_parts_have_the_same_logits_and_gradients() -> None:
    torch.manual_seed(0)
    network, images = PreActResNet18(width=4).eval(), torch.rand(7, 3, 16, 16)
    found = []
    for parts in (1, 3, 100):
        x = images.clone().requires_grad_()
        logits = in_parts(network, x, parts)
        found.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), x)))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_what_answers_for_a_batch_and_not_for_an_image_is_told() -> None:
    images = torch.rand(4, 3, 16, 16)
    network = PreActResNet18(width=4).eval()
    assert image_by_image(network, images)
    assert not image_by_image(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), images)
    assert not image_by_image(nn.Sequential(nn.Flatten(), nn.Dropout()), images)
