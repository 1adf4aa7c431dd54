"""Networks by RobustBench's names, from a package that stands in for it: it is no part of the tests' environment."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import toughen
from toughen.data import ImageFolder
from toughen.errors import InputError
from toughen.models import Normalize, RobustBench, build_model, network_named
from toughen.models.published import publisher
from toughen.models.start import start_from

ZOO = """
from enum import Enum
from torch import nn
import torch

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"

class ThreatModel(Enum):
    Linf = "Linf"

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))

    def forward(self, images):
        return self.layers(images - self.mu)

model_dicts = {BenchmarkDataset.cifar_10: {ThreatModel.Linf: {"Someone2020Tiny": {"model": Tiny}}}}
"""
UTILS = """
import torch
from robustbench.model_zoo import Tiny

def load_model(model_name, model_dir, dataset, threat_model):
    if model_dir.startswith("/nowhere"):
        raise OSError("no connection")
    network = Tiny()
    with torch.no_grad():
        network.layers[1].weight.copy_(torch.randn(10, 192, generator=torch.Generator().manual_seed(0)))
        network.layers[1].bias.zero_()
    return network.eval()
"""


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "robustbench").mkdir()
    for name, text in (("__init__", ""), ("model_zoo", ZOO), ("utils", UTILS)):
        (tmp_path / f"robustbench/{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "robustbench"]:
        del sys.modules[name]


def original() -> nn.Module:
    from robustbench.utils import load_model  # the stand-in

    network: nn.Module = load_model("Someone2020Tiny", "", "cifar10", "Linf")
    return network


def test_the_published_network_without_a_second_normalisation() -> None:
    facts = {"num_classes": 10, "in_channels": 3, "mean": [0.2] * 3, "std": [0.2] * 3}
    model = build_model(partial(RobustBench, name="Someone2020Tiny"), **facts)
    said = start_from(model, publisher(model).published(), "w").sentences
    assert said == ["w: started from RobustBench's cifar10/Linf/Someone2020Tiny"]
    assert not any(isinstance(module, Normalize) for module in model.modules())
    images = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), original()(images))


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_its_figure_is_computed_anew(zoo: Path) -> None:
    network, noise = original(), torch.Generator().manual_seed(1)
    for index in range(60):
        pixels = torch.randint(0, 256, (8, 8, 3), generator=noise, dtype=torch.uint8)
        with torch.no_grad():
            label = int(network(pixels.permute(2, 0, 1)[None] / 255).argmax())
        label = label if index % 3 else (label + 1) % 10  # a third is wrong
        for split in ("train", "test"):
            (zoo / f"photos/{split}/{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(zoo / f"photos/{split}/{label}/{index}.png")
    for label in range(10):
        (zoo / f"photos/train/{label}").mkdir(exist_ok=True)
    result = toughen.evaluate(
        model=network_named("robustbench:cifar10/Linf/Someone2020Tiny"),
        data=ImageFolder(zoo / "photos", size=8),
        budget="quick",
        out=str(zoo / "out"),
        device="cpu",
        checks=False,
        test_images=None,
    ).result
    assert result["figures"]["clean"]["held"] == 40
    assert result["figures"]["clean"]["n"] == 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "Someone2021Tiny"}, "unknown to RobustBench; did you mean 'Someone2020Tiny'?"),
        ({"name": "Someone2020Tiny", "dataset": "cifar100"}, "unknown data set 'cifar100'"),
        ({"name": "Someone2020Tiny", "threat_model": "L2"}, "unknown threat model 'L2'"),
        ({"name": "Someone2020Tiny", "num_classes": 3}, "it is for 10 classes and 3 channels, the data have 3 and 3"),
    ],
)
def test_what_it_does_not_have(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        RobustBench(**settings)  # type: ignore[arg-type]


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    with pytest.raises(InputError, match="cannot load it: no connection; published weights need a network"):
        RobustBench(name="Someone2020Tiny").published()
