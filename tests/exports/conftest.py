"""Runs of many kinds of networks, as training and evaluation leave them, on images in files."""

import warnings
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_networks import CLASSES, NETWORKS, TRUST, Own
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import toughen
from toughen.attacks import PGD
from toughen.data import ImageFolder
from toughen.errors import ToughenWarning
from toughen.methods import ARAT
from toughen.models import build_model
from toughen.models.build import with_facts
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.own_files import import_from_code, sources
from toughen.threat import ThreatModel


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """A maker of a run of a network of `NETWORKS`; each is made once."""
    made: dict[str, RunFolder] = {}

    def make(name: str) -> RunFolder:
        if name not in made:
            place = tmp_path_factory.mktemp(name)
            network = in_a_file(place) if name == "own file" else NETWORKS.get(name)
            made[name] = evaluated(place, network) if network is not None else trained_by_arat(place)
        return made[name]

    return make


def in_a_file(place: Path) -> Callable[..., nn.Module]:
    """The class of one's own as a user has it who has only a file."""
    (place / "net.py").write_text(f"import torch\nfrom torch import Tensor, nn\n\n\n{getsource(Own)}")
    return import_from_code("net.py:Own", place)


def evaluated(place: Path, network: Callable[..., nn.Module]) -> RunFolder:
    """A run with random weights, and its evaluation on 12 images, of which the network is right for eight or more."""
    folder = RunFolder(place / "run")
    folder.create()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        facts = {"num_classes": len(CLASSES), "in_channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
        model = build_model(network, **facts).eval()
    save_file({name: each.contiguous() for name, each in model.state_dict().items()}, folder.model)
    data = images_for(place / "images", model)
    described = describe(with_facts(network, len(CLASSES), 3))
    threat = describe(ThreatModel("linf", "8/255"))
    folder.write_config({"model": described, "data": describe(data), "threat": threat})
    folder.write_code(sources(folder.read_config()))
    folder.write_classes(CLASSES)
    folder.write_shape((3, 32, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToughenWarning)  # of the random one
        toughen.evaluate(str(folder.path), budget="quick", checks=False, device="cpu", trust=TRUST)
    return folder


def images_for(place: Path, model: nn.Module) -> ImageFolder:
    """Twelve images; the first eight lie in the folder of the class that the network predicts."""
    pixels = torch.randint(256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = [*model(pixels[:8] / 255).argmax(1).tolist(), *range(len(CLASSES))]
    for split in ("train", "test"):
        for number, label in enumerate(labels):
            file = place / split / CLASSES[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number].permute(1, 2, 0).byte().numpy()).save(file)
    return ImageFolder(str(place))


def trained_by_arat(place: Path) -> RunFolder:
    """A run of AR-AT, whose network has two branches while it trains."""
    settings: dict[str, Any] = {"epochs": 1, "train_images": 256, "trackers": [], "device": "cpu", "budget": "quick"}
    method = ARAT(attack=PGD(steps=2, mode="train"))
    return toughen.train(method=method, out=str(place / "run"), test_images=40, **settings).folder
