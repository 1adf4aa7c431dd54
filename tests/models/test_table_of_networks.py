"""Eight kinds of networks: trained, resumed, evaluated, and loaded again elsewhere without what they came from."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import toughen
from toughen.data import ImageFolder
from toughen.methods import PGDAT
from toughen.models import network_named
from toughen.settings.names import import_path
from toughen.training import Constant

pytestmark = pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")

OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes: int = 3, width: int = 4):
        self.num_classes, self.width = num_classes, width
        super().__init__(nn.Conv2d(3, width, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(49 * width, num_classes))
"""


def transformers(folder: Path) -> Any:
    """A folder of `save_pretrained` stands in for a repository of the hub."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTForImageClassification(ViTConfig(**sizes, image_size=64, patch_size=8)).save_pretrained(folder / "gone/vit")
    return network_named(f"hf:{folder}/gone/vit")


def own_class(folder: Path) -> Any:
    (folder / "own_package.py").write_text(OWN)
    return import_path("own_package.Net")


def own_file(folder: Path) -> Any:
    (folder / "gone/net.py").write_text(OWN)
    return import_path(f"{folder}/gone/net.py:Net")


def instance(folder: Path) -> nn.Module:
    network = torchvision.models.squeezenet1_1(num_classes=3)
    network.features[0].weight.data.mul_(2)
    return network


KINDS: dict[str, Callable[[Path], Any]] = {
    "timm CNN": lambda folder: network_named("timm:test_efficientnet"),
    "timm ViT": lambda folder: network_named("timm:test_vit"),
    "timm ConvNeXt": lambda folder: network_named("timm:test_convnext"),
    "torchvision": lambda folder: network_named("torchvision:shufflenet_v2_x0_5"),
    "transformers": transformers,
    "own class": own_class,
    "own file": own_file,
    "instance": instance,
}
TRUST = ["own_package", "code/net.py"]
LOAD = """
import sys, torch, toughen
from safetensors.torch import load_file, save_file
images = load_file(sys.argv[1])["images"]
runs = sys.argv[3:]
with torch.no_grad():
    logits = {run: toughen.load(run, trust=["own_package", "code/net.py"])(images) for run in runs}
save_file(logits, sys.argv[2])
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours with noise, as folders of PNG files."""
    folder, noise = tmp_path_factory.mktemp("photos"), torch.Generator().manual_seed(0)
    for split, count in (("train", 24), ("test", 6)):
        for label, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(0, 120, (32, 32, 3), generator=noise, dtype=torch.uint8)
                pixels[..., label] += 80
                Image.fromarray(pixels.numpy()).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "gone").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("code/", "own_package"))]:
        del sys.modules[name]


def through_everything(kind: str, folder: Path, photos: Path) -> None:
    """Train, resume, evaluate, and load in another process and working folder, where nothing else is left."""
    network, run, data = KINDS[kind](folder), str(folder / "run"), ImageFolder(str(photos), size=32)
    begun: dict[str, Any] = {
        "method": PGDAT(),
        "schedule": Constant(),
        "select": "last",
        "batch_size": 12,
        "trackers": [],
        "out": run,
        "budget": "none",
    }
    toughen.train(data, network, epochs=1, init="random", **begun)
    shutil.rmtree(folder / "gone")
    before = load_file(f"{run}/model.safetensors")
    again = {"model": network} if isinstance(network, nn.Module) else {}
    trained = toughen.train(resume=run, epochs=2, trust=TRUST, **again)
    assert any(not torch.equal(each, before[name]) for name, each in load_file(f"{run}/model.safetensors").items())
    result = toughen.evaluate(run, budget="quick", test_images=12, trust=TRUST, checks=False).result
    assert result["n"] == 12
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected = trained.model(images)
    torch.testing.assert_close(elsewhere([run], images, folder)[run], expected)


def elsewhere(runs: list[str], images: torch.Tensor, folder: Path) -> dict[str, torch.Tensor]:
    """The logits of runs, loaded by another process in another working folder, that finds our own class alone."""
    save_file({"images": images}, folder / "images.safetensors")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(toughen.__file__).parents[1]), str(folder)])}
    arguments = [str(folder / "images.safetensors"), str(folder / "logits.safetensors"), *runs]
    ended = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments], cwd="/", env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return load_file(folder / "logits.safetensors")


def test_a_network_of_ones_own_file_goes_through_everything(folder: Path, photos: Path) -> None:
    through_everything("own file", folder, photos)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "own file"])
def test_every_kind_goes_through_everything(kind: str, folder: Path, photos: Path) -> None:
    through_everything(kind, folder, photos)
