"""What holds for every architecture of the package, and each against an independent implementation."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from toughen.errors import InputError
from toughen.models import PreActResNet18, ResNet18, SmallCNN, WideResNet

NARROW: dict[type[nn.Module], dict[str, Any]] = {
    SmallCNN: {"width": 2},
    ResNet18: {"width": 2},
    PreActResNet18: {"width": 2},
    WideResNet: {"depth": 10, "width": 1, "dropout": 0.2},
}
networks = pytest.mark.parametrize("network", NARROW, ids=lambda network: network.__name__)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def fresh(network: type[nn.Module], **settings: Any) -> nn.Module:
    """A narrow network with seeded weights and BatchNorm statistics unlike the initial ones, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built: nn.Module = network(**{**NARROW[network], **settings})
        for norm in built.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    nn.init.uniform_(getattr(norm, name), 0.5, 1.5)
    return built.eval()


@networks
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (28, 28), (33, 20)], ids=str)
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (10, 3), (100, 4)])
def test_one_logit_for_each_class(network: type[nn.Module], size: tuple[int, int], classes: int, channels: int) -> None:
    built = fresh(network, num_classes=classes, in_channels=channels)
    with torch.no_grad():
        logits = built(torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, classes)
    assert bool(logits.isfinite().all())


@networks
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_images_do_not_touch_each_other_in_eval_mode(network: type[nn.Module], format: torch.memory_format) -> None:
    built = fresh(network)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=format)
    with torch.no_grad():
        torch.testing.assert_close(built(images), torch.cat([built(image[None]) for image in images]))


@networks
def test_every_parameter_is_trained(network: type[nn.Module]) -> None:
    built = fresh(network).train()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(built(images), torch.tensor([0, 1, 2, 3])).backward()
    assert [name for name, each in built.named_parameters() if each.grad is None or not each.grad.any()] == []


@networks
def test_same_seed_gives_the_same_weights(network: type[nn.Module]) -> None:
    first, second = fresh(network).state_dict(), fresh(network).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@networks
def test_initial_weights(network: type[nn.Module]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built: nn.Module = network(**{**NARROW[network], "width": 8})
    for name, module in built.named_modules():
        if isinstance(module, nn.Conv2d):
            # Kaiming, fan out: variance 2 / (outputs that a weight reaches), within six standard errors.
            expected = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
            error = 6 * expected / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(expected, abs=error), name
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all(), name
            assert module.bias.eq(0).all(), name


# Counts as in the published code: kuangliu/pytorch-cifar (ResNet-18), fast_adversarial (PreAct ResNet-18),
# TRADES (WRN-34-10); and to one decimal, in millions, the table of Zagoruyko & Komodakis 2016.
@pytest.mark.parametrize(
    ("network", "settings", "count"),
    [
        (ResNet18, {}, 11_173_962),
        (ResNet18, {"strides": (1, 1, 2, 2)}, 11_173_962),
        (PreActResNet18, {}, 11_172_170),
        (WideResNet, {}, 46_160_474),
        (WideResNet, {"depth": 28, "width": 10}, 36_479_194),
    ],
)
def test_number_of_parameters(network: type[nn.Module], settings: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        assert parameters(network(**settings)) == count


@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (16, 8, 11.0), (28, 12, 52.5)]
)
def test_wide_resnets_of_the_paper(depth: int, width: int, millions: float) -> None:
    with torch.device("meta"):
        assert parameters(WideResNet(depth=depth, width=width)) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("depth", [-2, 4, 9, 11, 27, 35])
def test_depth_that_no_wide_resnet_has(depth: int) -> None:
    with pytest.raises(InputError, match=rf"model\.depth: expected 6 n \+ 4, such as 10, 16, 28 or 34, got {depth}$"):
        WideResNet(depth=depth)


@pytest.mark.parametrize(("strides", "gflop"), [((1, 2, 2, 2), 1.11), ((1, 1, 2, 2), 3.53)])
def test_strides_of_a_resnet18(strides: tuple[int, ...], gflop: float) -> None:
    """The cost of the published code's networks on a CIFAR image, and the same network as torchvision's."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ResNet18(strides=strides).eval()(torch.empty(1, 3, 32, 32))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.005)
    ours = fresh(ResNet18, width=64, num_classes=7, strides=list(strides))
    theirs = torchvision.models.resnet18(num_classes=7)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    theirs.layer2[0].conv1.stride = theirs.layer2[0].downsample[0].stride = (strides[1], strides[1])
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.eval()(images))


@pytest.mark.parametrize(("strides", "message"), [((1, 2, 2), "four numbers"), ((1, 2, 2, 0), "at least 1, got 0")])
def test_strides_that_no_resnet18_has(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=rf"model\.strides: expected {message}"):
        ResNet18(strides=strides)


def preactivation(weights: dict[str, Tensor], images: Tensor, stages: int, blocks: int) -> Tensor:
    """A pre-activation network written out from its weights: identity mappings, projections after the activation."""

    def activated(x: Tensor, name: str) -> Tensor:
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu((x - mean) / (variance + 1e-5).sqrt() * scale + shift)

    x = F.conv2d(images, weights["conv1.weight"], padding=1)
    for stage in range(1, stages + 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            inner = activated(x, f"{name}.bn1")
            outer = F.conv2d(inner, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            outer = F.conv2d(activated(outer, f"{name}.bn2"), weights[f"{name}.conv2.weight"], padding=1)
            projection = weights.get(f"{name}.shortcut.weight")
            x = outer + (x if projection is None else F.conv2d(inner, projection, stride=stride))
    if "bn.weight" in weights:
        x = activated(x, "bn")
    places = weights["fc.weight"].shape[1] // x.shape[1]
    pooled = x.mean((2, 3)) if places == 1 else F.avg_pool2d(x, x.shape[-1] // math.isqrt(places)).flatten(1)
    return F.linear(pooled, weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize(
    ("network", "settings", "stages", "blocks"),
    [
        (PreActResNet18, {"width": 4}, 4, 2),
        (PreActResNet18, {"width": 4, "final_norm": False, "pooled": 2}, 4, 2),
        (WideResNet, {"depth": 16, "width": 2, "dropout": 0.3}, 3, 2),
    ],
)
def test_preactivation_networks_written_out(
    network: type[nn.Module], settings: dict[str, int], stages: int, blocks: int
) -> None:
    built = fresh(network, **settings)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(built(images), preactivation(built.state_dict(), images, stages, blocks))


def test_dropout_works_in_train_mode_only() -> None:
    built = fresh(WideResNet, depth=10, width=2)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        assert torch.equal(built(images), built(images))
        for module in built.modules():
            module.training = isinstance(module, nn.Dropout)
        assert not torch.equal(built(images), built(images))
