import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.models import Classifier, Normalize, PreActResNet18, ResNet18, SmallCNN, Timm, WideResNet
from toughen.models.features import captured, feature_widths, find_layer, last_stage, pooled, stage_ends, unit_features


def images(n: int = 3) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def behind_normalization(network: nn.Module) -> Classifier:
    return Classifier(Normalize([0.5] * 3, [0.2] * 3), network)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(
    ("shape", "mean_over"), [((2, 3, 4, 5), (2, 3)), ((2, 3, 4, 5, 6), (2, 3, 4)), ((2, 4, 3), (1,)), ((2, 3), ())]
)
def test_pooling_is_relu_and_the_mean_over_places(shape: tuple[int, ...], mean_over: tuple[int, ...]) -> None:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = output * (output > 0)
    for axis in reversed(mean_over):
        expected = expected.sum(axis) / shape[axis]
    torch.testing.assert_close(pooled(output), expected)
    assert pooled(output.bfloat16()).dtype == torch.float32
    assert pooled(output.double()).dtype == torch.float64


def test_features_of_a_resnet_are_those_before_it_changes_them_in_place() -> None:
    network = torchvision.models.resnet18(num_classes=4).eval()
    block = network.layer4[1]
    with captured(network, ["layer4.1.bn1", "layer4.1.bn2"]) as features:
        network(images())
    x = network.maxpool(F.relu(network.bn1(network.conv1(images()))))
    x = network.layer4[0](network.layer3(network.layer2(network.layer1(x))))
    first = block.bn1(block.conv1(x))
    second = block.bn2(block.conv2(F.relu(first)))
    torch.testing.assert_close(features["layer4.1.bn1"], F.relu(first).mean((2, 3)))
    torch.testing.assert_close(features["layer4.1.bn2"], F.relu(second).mean((2, 3)))


def test_gradients_through_features_changed_in_place_are_right() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).double()
    x = images().double()
    with captured(network, ["1"]) as features:
        network(x)
    (gradient,) = torch.autograd.grad(features["1"].square().sum(), network[0].weight)
    expected = F.relu(network[1](network[0](x))).mean((2, 3)).square().sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, network[0].weight)[0])


def test_a_wide_resnets_layers_give_the_features_of_its_relus_and_of_its_pooling() -> None:
    network = WideResNet(depth=16, width=1).eval()
    assert last_stage(network) == ["layer3.0.bn1", "layer3.0.bn2", "layer3.1.bn1", "layer3.1.bn2", "avgpool"]
    with captured(network, last_stage(network)) as features:
        network(images())
    x = network.layer2(network.layer1(network.conv1(images())))
    expected = []
    for block in network.layer3:
        relu1 = F.relu(block.bn1(x))
        relu2 = F.relu(block.bn2(block.conv1(relu1)))
        expected += [relu1, relu2]
        x = block(x)
    expected.append(network.avgpool(F.relu(network.bn(x))))
    for got, relu in zip(features.values(), expected, strict=True):
        torch.testing.assert_close(got, relu.mean((2, 3)))


FOUR = ["layer4.0.bn1", "layer4.0.bn2", "layer4.1.bn1", "layer4.1.bn2"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (ResNet18(width=4), FOUR),
        (PreActResNet18(width=4), FOUR),
        (torchvision.models.resnet18(num_classes=10), FOUR),
        (behind_normalization(Timm(name="resnet18")), [f"network.network.{name}" for name in FOUR]),
        (
            behind_normalization(WideResNet(depth=10, width=1)),
            ["network." + n for n in ("layer3.0.bn1", "layer3.0.bn2", "avgpool")],
        ),
        (SmallCNN(width=4), ["features.1", "features.4", "features.7"]),
        (timm.create_model("efficientnet_b0"), ["blocks.6.0.bn1", "blocks.6.0.bn2", "blocks.6.0.bn3", "bn2"]),
    ],
    ids=["resnet18", "preactresnet18", "torchvision", "timm", "wideresnet", "small_cnn", "efficientnet"],
)
def test_default_layers(network: nn.Module, expected: list[str]) -> None:
    assert last_stage(network) == expected


def test_no_default_without_batch_norm() -> None:
    with pytest.raises(InputError, match=r"method\.layers: .* no default for Sequential: it has no BatchNorm"):
        last_stage(nn.Sequential(nn.Linear(2, 2)))


def test_names_are_those_in_the_network_whatever_is_around_it() -> None:
    timms = behind_normalization(Timm(name="resnet18"))
    assert find_layer(timms, "layer4.1.bn2") == "network.network.layer4.1.bn2"
    assert find_layer(timms, "network.layer4.1.bn2") == "network.network.layer4.1.bn2"
    assert find_layer(timms, "network.network.layer4.1.bn2") == "network.network.layer4.1.bn2"
    assert find_layer(ResNet18(width=4), "bn1") == "bn1"


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_unknown_name_lists_those_that_exist_nearest_first(wrapped: bool) -> None:
    network = ResNet18(width=4)
    with pytest.raises(InputError, match=r"no layer 'layer4.1.batchnorm2'; nearest first, it has layer4\.1\.") as error:
        find_layer(behind_normalization(network) if wrapped else network, "layer4.1.batchnorm2")
    listed = str(error.value).partition("it has ")[2].partition(", and ")[0].split(", ")
    assert len(listed) == 40
    assert listed.index("layer4.1.bn2") < listed.index("layer2.0.bn1")
    assert set(listed) <= dict(network.named_modules()).keys()


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def test_hooks_go_after_an_error() -> None:
    network = Fails()
    with captured(network, ["first"]):
        assert hooks(network) == 1
    with pytest.raises(ZeroDivisionError), captured(network, ["first"]):
        network(torch.rand(1, 2))
    with pytest.raises(AttributeError), captured(network, ["first", "missing"]):
        pass
    assert hooks(network) == 0


def test_a_layer_that_gives_no_tensor() -> None:
    network = nn.Sequential(nn.Linear(2, 2), Pair())
    with pytest.raises(InputError, match=r"method\.layers: 1 gives tuple, expected a tensor"), captured(network, ["1"]):
        network(torch.rand(1, 2))
    assert hooks(network) == 0


@pytest.mark.parametrize("training", [False, True])
def test_widths_are_found_without_a_trace(training: bool) -> None:
    network = behind_normalization(ResNet18(width=4)).train(training).double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = [find_layer(network, name) for name in ("layer1.0.bn1", "layer3", "avgpool", "fc")]
    assert feature_widths(network, names) == [4, 16, 32, 10]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training == training
    assert hooks(network) == 0


def test_widths_need_images_that_the_network_takes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 8 * 8, 4))
    with pytest.raises(
        InputError, match=r"does not take images of 1 x 32 x 32 .*method.allocate_memory\(number_of_images"
    ):
        feature_widths(network, ["0"])
    assert feature_widths(network, ["0", "2"], (1, 8, 8)) == [2, 4]


def test_a_layer_that_takes_no_part() -> None:
    network = ResNet18(width=4)
    network.unused = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"method\.layers: unused takes no part"):
        feature_widths(network, ["unused"])


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Classifier(Normalize([0.5] * 3, [0.2] * 3), ResNet18(width=4)), [f"network.layer{n}" for n in (1, 2, 3, 4)]),
        (WideResNet(depth=10, width=1), ["layer1", "layer2", "layer3"]),
        (torchvision.models.resnet18(), ["layer1", "layer2", "layer3", "layer4"]),
        (timm.create_model("test_convnext"), [f"stages.{n}" for n in (0, 1, 2, 3)]),
        (SmallCNN(), ["features.1", "features.4", "features.7"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_stages_by_the_names_that_networks_give_them(network: nn.Module, expected: list[str]) -> None:
    assert stage_ends(network) == expected


def test_networks_without_stages_and_normalisations_have_none() -> None:
    with pytest.raises(InputError, match="neither stages called"):
        stage_ends(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 20, 3), (2, 3)])
def test_unit_features_have_a_channel_vector_of_length_one_at_each_place(shape: tuple[int, ...]) -> None:
    output = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    output[0] = 0
    output.requires_grad_()
    found = unit_features(output)
    assert found.square().sum(1).tolist() == pytest.approx([0.0, 1.0])
    (gradient,) = torch.autograd.grad(found.sum(), output)
    assert gradient.isfinite().all()
