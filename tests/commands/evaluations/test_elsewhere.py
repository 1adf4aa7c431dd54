"""Evaluations of what others trained: published weights by name, files of weights with a normalisation given."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

import toughen
from toughen.cli import main
from toughen.data import ImageFolder
from toughen.errors import InputError, ToughenWarning
from toughen.models import Classifier, Normalize, network_named
from toughen.run import RunFolder

MEAN, STD = [0.2, 0.6, 0.4], [0.2, 0.3, 0.1]
QUICK: dict[str, Any] = {"budget": "quick", "device": "cpu", "checks": False, "test_images": None}


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=3, img_size=32).eval()
    nn.init.normal_(network.head.weight)
    with torch.no_grad():  # every class is as likely as the others
        network.head.bias.copy_(-Classifier(Normalize(MEAN, STD), network)(coloured(60)).mean(0))
    return network


def coloured(count: int) -> Tensor:
    noise = torch.Generator().manual_seed(1)
    bright = torch.rand(count, 3, 1, 1, generator=noise)
    return (bright * torch.rand(count, 3, 32, 32, generator=noise) * 255).byte() / 255


def photos(folder: Path, network: nn.Module, names: tuple[str, ...]) -> ImageFolder:
    """Images in the folders that the network, behind its normalisation, puts them in."""
    images = coloured(60)
    with torch.no_grad():
        labels = Classifier(Normalize(MEAN, STD), network)(images).argmax(1)
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        for split in ("train", "test"):
            (folder / split / names[label]).mkdir(parents=True, exist_ok=True)
            to_pil_image(image).save(folder / split / names[label] / f"{index}.png")
    return ImageFolder(folder, size=32)


def accuracy(**settings: Any) -> float:
    share: float = toughen.evaluate(**settings, **QUICK).result["figures"]["clean"]["accuracy"]
    return share


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_published_weights_by_name_with_their_classes_and_normalisation(tmp_path: Path, trained: nn.Module) -> None:
    """The data's folders are in another order than the logits, and the first class's has one of its two names."""
    trained.pretrained_cfg = {**trained.pretrained_cfg, "mean": MEAN, "std": STD}
    labels = {"label_names": ["zebra, n03", "apple", "dog"]}
    save_for_hf(trained, tmp_path / "net", model_config=labels, safe_serialization=True)
    data = photos(tmp_path / "photos", trained, ("zebra", "apple", "dog"))
    model = network_named(f"local-dir:{tmp_path}/net")
    with pytest.warns(ToughenWarning, match="has the rows of 3 classes, by their names"):
        assert accuracy(model=model, data=data, out=str(tmp_path / "a")) == 1
    assert accuracy(model=model, data=data, normalize="none", out=str(tmp_path / "b")) < 1
    others = photos(tmp_path / "others", trained, ("zebra", "ape", "ant"))
    with pytest.raises(InputError, match=r"new ones for ant, ape\. Nothing trained is left for them"):
        accuracy(model=model, data=others, out=str(tmp_path / "c"))


def test_a_file_of_bare_weights_behind_the_normalisation_that_is_given(
    tmp_path: Path, trained: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    photos(tmp_path / "photos", trained, ("a", "b", "c"))
    command = [
        "evaluate", "--model", "timm:test_vit", "--weights", f"{tmp_path}/w.pth", "--data", "image_folder",
        "--data.path", f"{tmp_path}/photos", "--data.size", "32", "--budget", "quick", "--test_images", "null",
        "--checks", "false", "--device", "cpu", "--normalize", "0.2,0.6,0.4/0.2,0.3,0.1",
    ]  # fmt: skip
    assert main([*command, "--out", f"{tmp_path}/out"]) == 0, capsys.readouterr().err
    assert RunFolder(tmp_path / "out").read_result()["figures"]["clean"]["accuracy"] == 1
