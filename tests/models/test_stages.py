"""Layers in their order against lists made by hand, and stages that stay as they are."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from toughen.errors import InputError
from toughen.models import ResNet18
from toughen.models.adapters import Timm
from toughen.models.build import Classifier, Normalize, build_model
from toughen.models.stages import distances, freeze
from toughen.models.start import start_from
from toughen.models.weight_files import WeightFile


def by_distance(model: nn.Module) -> dict[int, set[str]]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[int, set[str]] = {}
    for parameter, distance in distances(model).items():
        found.setdefault(distance, set()).add(names[parameter])
    assert sum(map(len, found.values())) == len(names)
    return found


def test_a_residual_networks_layers_are_its_blocks() -> None:
    network = ResNet18(num_classes=3, in_channels=1, width=4)
    found = by_distance(Classifier(Normalize([0.5], [0.5]), network))
    assert sorted(found) == list(range(10))
    assert found[0] == {"network.fc.weight", "network.fc.bias"}
    assert found[9] == {"network.conv1.weight", "network.bn1.weight", "network.bn1.bias"}
    for distance, block in zip(range(1, 9), [f"layer{n}.{k}" for n in (4, 3, 2, 1) for k in (1, 0)], strict=True):
        assert all(name.startswith(f"network.{block}.") for name in found[distance])


def test_a_transformers_layers_are_its_blocks() -> None:
    network = VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3)
    found = by_distance(network)
    assert found[0] == {"heads.head.weight", "heads.head.bias"}
    assert {name.split(".")[2] for name in found[1]} == {"encoder_layer_1", "weight", "bias"}  # and encoder.ln
    assert {name.split(".")[2] for name in found[2]} == {"encoder_layer_0"}


@pytest.mark.parametrize("name", ["layer1.0", "network.layer1.0"])
def test_frozen_parameters_need_no_gradient(name: str) -> None:
    model = Classifier(Normalize([0.5], [0.5]), ResNet18(num_classes=3, in_channels=1, width=4))
    (stage,) = freeze(model, [name])
    assert stage is model.get_submodule("network.layer1.0")
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert still == {name for name, _ in model.named_parameters() if name.startswith("network.layer1.0.")}
    # What is left are the other nine layers.
    assert max(distances(model).values()) == 8


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer_1"], "the network has no 'layer_1'; did you mean 'layer1'. Known: bn1, conv1, fc, layer1, layer2"),
        ([""], "the network has no ''"),
        (["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"], "nothing of the network is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_said(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"--freeze.*{message}"):
        freeze(Classifier(Normalize([0.5], [0.5]), ResNet18(num_classes=3, in_channels=1, width=4)), names)


def test_a_librarys_own_names_are_known() -> None:
    """Of a network of timm behind our adapter: its stages freeze, and a file of its weights is a start."""
    timm = pytest.importorskip("timm")
    facts = {"num_classes": 3, "in_channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    model = build_model(partial(Timm, name="test_resnet"), **facts)
    assert freeze(model, ["layer1"]) == [model.get_submodule("network.network.layer1")]
    theirs = timm.create_model("test_resnet", num_classes=5).state_dict()
    said = start_from(model, WeightFile({f"module.{name}": each for name, each in theirs.items()}), "a.pth")
    assert not said.same_classes
    ours = model.get_submodule("network.network").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if not name.startswith("fc."))
