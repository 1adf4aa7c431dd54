"""Networks of timm and torchvision; pretrained weights without a network."""

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from toughen.errors import InputError, ToughenError
from toughen.models import Normalize, Timm, Torchvision, build_model, check_outputs

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
# As the libraries write them for ImageNet.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
NORMALISED = (IMAGES - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
SMALL_TIMM, SMALL_TORCHVISION = "test_byobnet", "mobilenet_v3_small"


def outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.eval()(images)
    return logits


def built_with_facts(network: Any, **settings: Any) -> nn.Module:
    return build_model(
        lambda num_classes, in_channels: network(num_classes, in_channels, **settings),
        num_classes=5,
        in_channels=3,
        mean=[0.5] * 3,
        std=[0.5] * 3,
    )


@pytest.mark.parametrize(("classes", "channels"), [(5, 3), (2, 1), (10, 4)])
def test_timm_network_fits_the_data(classes: int, channels: int) -> None:
    network = Timm(classes, channels, name=SMALL_TIMM)
    images = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    assert check_outputs(network, images, classes).shape == (2, classes)
    torch.testing.assert_close(outputs(network, images), outputs(network.network, images))


@pytest.mark.parametrize("classes", [5, 2])
def test_torchvision_network_fits_the_data(classes: int) -> None:
    network = Torchvision(classes, name=SMALL_TORCHVISION)
    assert check_outputs(network, IMAGES, classes).shape == (2, classes)
    torch.testing.assert_close(outputs(network, IMAGES), outputs(network.network, IMAGES))


@pytest.mark.parametrize(("network", "name"), [(Timm, SMALL_TIMM), (Torchvision, SMALL_TORCHVISION)])
def test_without_weights_the_datas_statistics_normalise(network: Any, name: str) -> None:
    model = built_with_facts(network, name=name)
    inner = model.get_submodule("network.network")
    torch.testing.assert_close(outputs(model, IMAGES), outputs(inner, (IMAGES - 0.5) / 0.5))


def test_a_tag_without_its_weights_is_refused() -> None:
    with pytest.raises(InputError, match=r"'a1_in1k' are not loaded, .* from scratch; give 'resnet18', or"):
        Timm(name="resnet18.a1_in1k")


# Pretrained.


@pytest.fixture
def timm_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What a download from the hub gives: the weights of a network with ImageNet's classes."""
    weights: dict[str, Tensor] = timm.create_model(SMALL_TIMM).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(weights))
    return weights


@pytest.mark.usefixtures("timm_weights")
def test_pretrained_timm_network_brings_its_normalisation() -> None:
    model = built_with_facts(Timm, name=SMALL_TIMM, pretrained=True)
    assert isinstance(model, Timm), "not wrapped in a second normalisation"
    assert sum(isinstance(module, Normalize) for module in model.modules()) == 1
    torch.testing.assert_close(outputs(model, IMAGES), outputs(model.network, NORMALISED))
    assert outputs(model, IMAGES).shape == (2, 5)


def test_pretrained_timm_weights_are_used(timm_weights: dict[str, Tensor]) -> None:
    loaded = Timm(5, name=SMALL_TIMM, pretrained=True).network.state_dict()
    fresh = {name for name, tensor in loaded.items() if not torch.equal(tensor, timm_weights[name])}
    assert fresh == {"head.fc.weight", "head.fc.bias"}


@pytest.mark.usefixtures("timm_weights")
def test_pretrained_timm_network_for_grey_images() -> None:
    model = Timm(5, 1, name=SMALL_TIMM, pretrained=True)
    grey = IMAGES[:, :1]
    torch.testing.assert_close(outputs(model, grey), outputs(model.network, NORMALISED[:, :1]))


@pytest.mark.usefixtures("timm_weights")
def test_pretrained_timm_network_for_images_of_more_channels() -> None:
    model = Timm(5, 4, name=SMALL_TIMM, pretrained=True)
    mean = model.normalize.mean.flatten()
    assert mean[3] == mean[0]
    assert model(torch.rand(2, 4, 64, 64)).shape == (2, 5)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torchvision looks for weights before it downloads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("classes", [5, 1000])
def test_pretrained_torchvision_network(torch_home: Path, classes: int) -> None:
    original = torchvision.models.get_model(SMALL_TORCHVISION)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):  # else a fresh network's outputs hardly depend on the image
            nn.init.constant_(module.get_buffer("running_var"), 0.1)
    url = torchvision.models.get_model_weights(SMALL_TORCHVISION)["DEFAULT"].url
    torch.save(original.state_dict(), torch_home / Path(url).name)

    model = Torchvision(classes, name=SMALL_TORCHVISION, weights="DEFAULT")
    loaded, given = model.network.state_dict(), original.state_dict()
    fresh = {name for name in given if not torch.equal(loaded[name], given[name])}
    assert fresh == ({"classifier.3.weight", "classifier.3.bias"} if classes == 5 else set())
    assert outputs(model, IMAGES).shape == (2, classes)
    torch.testing.assert_close(outputs(model, IMAGES), outputs(model.network, NORMALISED))
    assert not torch.allclose(outputs(model, IMAGES), outputs(model.network, IMAGES), rtol=0.1)

    wrapped = build_model(lambda: model, num_classes=classes, in_channels=3, mean=[0.5] * 3, std=[0.5] * 3)
    assert wrapped is model


def test_torchvision_network_without_a_last_layer_to_replace(torch_home: Path) -> None:
    original = torchvision.models.squeezenet1_1()
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    torch.save(original.state_dict(), torch_home / Path(url).name)
    with pytest.raises(
        InputError, match=r"--model\.weights: SqueezeNet ends in no linear layer .* for 5 classes; use "
    ):
        Torchvision(5, name="squeezenet1_1", weights="DEFAULT")
    assert outputs(Torchvision(1000, name="squeezenet1_1", weights="DEFAULT"), IMAGES).shape == (2, 1000)


# What cannot be built.


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        (Timm, {"name": "resnet81"}, "--model.name: unknown to timm: 'resnet81'; did you mean 'resnet18'?"),
        (Timm, {"name": "q"}, "--model.name: unknown to timm: 'q'; see the library's list_models()"),
        (
            Timm,
            {"name": "resnet18.nope"},
            "--model.name: timm cannot build 'resnet18.nope': Invalid pretrained tag (nope) for resnet18.",
        ),
        (
            Torchvision,
            {"name": "resnet81"},
            "--model.name: unknown to torchvision: 'resnet81'; did you mean 'resnet18'?",
        ),
        (
            Torchvision,
            {"name": "resnet18", "in_channels": 1},
            "torchvision's networks take 3 channels, the images have 1; use --model timm, which takes any",
        ),
        (
            Torchvision,
            {"name": "resnet18", "weights": "imagenet1k_v1"},
            "--model.weights: torchvision has no 'imagenet1k_v1' for resnet18; did you mean 'IMAGENET1K_V1'? "
            "Known: DEFAULT, IMAGENET1K_V1",
        ),
    ],
)
def test_what_the_library_does_not_have(network: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        network(**settings)
    assert str(caught.value) == message


def test_pretrained_weights_that_timm_does_not_have() -> None:
    """timm knows the architecture, but nobody has published weights for it."""
    without = next(name for name in timm.list_models("ghostnet*") if not timm.is_model_pretrained(name))
    with pytest.raises(InputError, match=rf"timm cannot build '{without}': .*; pretrained weights need a network"):
        Timm(5, name=without, pretrained=True)


def test_weights_that_cannot_be_downloaded(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy at a port where nobody listens stands in for a machine without a network."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=rf"cannot download https://.*\.pth: .*; without a .* into {torch_home}$"):
        Torchvision(5, name=SMALL_TORCHVISION, weights="DEFAULT")


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ToughenError, match=r"needs its package: pip install 'toughen\[timm\]'"):
        Timm(5, name=SMALL_TIMM)


def test_image_size_that_the_network_does_not_take() -> None:
    with pytest.raises(InputError, match=r"cannot take images of 3 x 32 x 32 .*: Input height \(32\) doesn't match"):
        check_outputs(Timm(5, name="vit_tiny_patch16_224"), IMAGES, 5)
