"""Networks of timm and torchvision; their published weights without a network."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.models import save_for_hf
from torch import Tensor, nn

from toughen.errors import InputError, ToughenError
from toughen.models import Normalize, SmallCNN, Timm, Torchvision, build_model, check_outputs
from toughen.models.published import completed, names_weights, publisher
from toughen.models.start import start_from

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


@pytest.mark.parametrize(
    ("network", "name", "size"), [(Timm, "test_vit", 32), (Torchvision, "vit_b_16", 32), (Timm, SMALL_TIMM, 48)]
)
def test_images_of_another_size_than_the_network_is_made_for(network: Any, name: str, size: int) -> None:
    images = torch.rand(2, 3, size, size)
    assert outputs(network(5, name=name, image_size=size), images).shape == (2, 5)


def test_further_arguments_of_timm() -> None:
    network = Timm(5, name="test_vit", image_size=32, arguments={"patch_size": 8})
    assert network.network.patch_embed.patch_size == (8, 8)


def test_names_that_name_weights() -> None:
    assert names_weights(partial(Timm, name="resnet18.a1_in1k"))
    assert names_weights(partial(Torchvision, name="resnet18", weights="DEFAULT"))
    assert not names_weights(partial(Timm, name="resnet18"))
    assert not names_weights(partial(Torchvision, name="resnet18"))
    assert not names_weights(SmallCNN)


# Published weights.


@pytest.fixture
def timm_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What a download from the hub gives: the weights of a network with ImageNet's classes."""
    weights: dict[str, Tensor] = timm.create_model(SMALL_TIMM).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(weights))
    return weights


def started(network: Any, classes: tuple[str, ...], channels: int = 3, **settings: Any) -> tuple[nn.Module, list[str]]:
    facts = {"num_classes": len(classes), "in_channels": channels, "mean": [0.5] * channels, "std": [0.5] * channels}
    model = build_model(partial(network, **settings), **facts)
    return model, start_from(model, publisher(model).published(), "--init pretrained", classes).sentences


@pytest.mark.parametrize("channels", [3, 1, 4])
def test_timms_weights_are_used_behind_their_normalisation(timm_weights: dict[str, Tensor], channels: int) -> None:
    model, said = started(Timm, ("a", "b"), channels, name=SMALL_TIMM)
    inner = model.get_submodule("network.network")
    images = torch.rand(2, channels, 32, 32)
    mean, std = ([*each, each[0]][:channels] for each in (MEAN, STD))
    torch.testing.assert_close(
        outputs(model, images),
        outputs(inner, (images - torch.stack(mean).view(-1, 1, 1)) / torch.stack(std).view(-1, 1, 1)),
    )
    fresh = {name for name, tensor in inner.state_dict().items() if not torch.equal(tensor, timm_weights[name])}
    first = set() if channels == 3 else {"stem.conv.weight"}  # timm's own, for as many channels
    assert fresh == {"head.fc.weight", "head.fc.bias"} | first
    assert sum(isinstance(module, Normalize) for module in model.modules()) == 1
    assert said == [
        f"--init pretrained: started from timm's {SMALL_TIMM}.r160_in1k",
        "the last layer (network.network.head.fc.weight, network.network.head.fc.bias) is new: the weights are for "
        "1000 classes",
    ]


def test_the_classes_of_imagenet_keep_their_rows(timm_weights: dict[str, Tensor]) -> None:
    """By a number of WordNet and by a word: the first and the third of ImageNet's classes."""
    model, said = started(Timm, ("great_white_shark", "n01440764"), name=SMALL_TIMM)
    assert torch.equal(model.get_submodule("network.network").head.fc.weight, timm_weights["head.fc.weight"][[2, 0]])  # type: ignore[union-attr]
    assert said[-1].endswith("has the rows of 2 classes, by their names")


def test_a_folder_of_timms(tmp_path: Path) -> None:
    """What `save_for_hf` makes, which a repository of the hub holds, names its architecture, arguments and weights."""
    saved = timm.create_model("test_vit", num_classes=3, img_size=32, patch_size=8)
    saved.pretrained_cfg = {**saved.pretrained_cfg, "mean": MEAN.tolist(), "std": STD.tolist()}
    names = {"label_names": ["cat", "dog", "fox"]}
    save_for_hf(saved, tmp_path, model_config=names, model_args={"patch_size": 8}, safe_serialization=True)
    settings = completed(partial(Timm, name=f"local-dir:{tmp_path}", image_size=32)).keywords  # type: ignore[attr-defined]
    model, said = started(Timm, ("dog", "cat"), **settings)
    assert isinstance(Timm(2, **settings), Timm)
    assert said[0] == f"--init pretrained: started from local-dir:{tmp_path}"
    torch.testing.assert_close(outputs(model, IMAGES), outputs(saved, NORMALISED)[:, [1, 0]])
    (tmp_path / "config.json").unlink()
    assert Timm(2, **settings).network.patch_embed.patch_size == (8, 8), "the folder is not needed again"


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torchvision looks for weights before it downloads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_torchvisions_weights(torch_home: Path) -> None:
    original = torchvision.models.get_model(SMALL_TORCHVISION)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):  # else a fresh network's outputs hardly depend on the image
            nn.init.constant_(module.get_buffer("running_var"), 0.1)
    url = torchvision.models.get_model_weights(SMALL_TORCHVISION)["DEFAULT"].url
    torch.save(original.state_dict(), torch_home / Path(url).name)

    model, said = started(Torchvision, ("goldfish", "a", "tench"), name=SMALL_TORCHVISION)
    assert said[0] == f"--init pretrained: started from torchvision's {SMALL_TORCHVISION}.IMAGENET1K_V1"
    assert said[1].endswith("has the rows of 2 classes, by their names, and new ones for a")
    torch.testing.assert_close(outputs(model, IMAGES)[:, [2, 0]], outputs(original, NORMALISED)[:, :2])
    assert not torch.allclose(outputs(model, IMAGES), outputs(model.get_submodule("network"), IMAGES), rtol=0.1)


def test_a_network_without_published_weights() -> None:
    with pytest.raises(InputError, match="--init pretrained: nobody publishes weights for SmallCNN; expected"):
        publisher(SmallCNN())


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


def test_weights_that_timm_does_not_have() -> None:
    """timm knows the architecture, but nobody has published weights for it."""
    without = next(name for name in timm.list_models("ghostnet*") if not timm.is_model_pretrained(name))
    with pytest.raises(InputError, match=rf"timm cannot build '{without}': .*; published weights need a network"):
        Timm(5, name=without).published()


def test_weights_that_cannot_be_downloaded(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy at a port where nobody listens stands in for a machine without a network."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=rf"cannot download https://.*\.pth: .*; without a .* into {torch_home}$"):
        Torchvision(5, name=SMALL_TORCHVISION, weights="DEFAULT").published()


def test_timm_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ToughenError, match=r"install it with pip install 'toughen\[timm\]'"):
        Timm(5, name=SMALL_TIMM)


def test_image_size_that_the_network_does_not_take() -> None:
    with pytest.raises(InputError, match=r"cannot take images of 3 x 32 x 32 .*: Input height \(32\) doesn't match"):
        check_outputs(Timm(5, name="vit_tiny_patch16_224"), IMAGES, 5)
