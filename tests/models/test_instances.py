"""Networks in hand, described so that they can be built again."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.export import Dim
from transformers import ViTConfig, ViTForImageClassification

from toughen import train
from toughen.errors import InputError
from toughen.methods import Standard
from toughen.models import SmallCNN
from toughen.models.by_name import from_description
from toughen.models.instances import described
from toughen.models.mode import has_eval_mode_alone
from toughen.models.outputs import logits_in
from toughen.run import RunFolder
from toughen.settings.own_files import sources
from toughen.training import Constant

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32,
}  # fmt: skip


class Kept(nn.Sequential):
    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(nn.Conv2d(3, width, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(900 * width, 4))


class Lost(Kept):
    """It does not keep its argument."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        del self.width


class Hidden(nn.Sequential):
    """Nor does this one."""

    def __init__(self, size: int) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(size), nn.Dropout(0.2), nn.Linear(size, 10))


class Skipping(nn.Sequential):
    """StochasticDepth says its rate in `__repr__` alone."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), torchvision.ops.StochasticDepth(0.2, "row"), nn.Linear(3072, 4))


class Branches(Lost):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.mean() > 0.5 else 1 - images)


def changed_head() -> nn.Module:
    network = torchvision.models.squeezenet1_1()
    network.classifier[1] = nn.Conv2d(512, 7, 1)
    return network


NETWORKS: dict[str, tuple[Any, str]] = {
    "own class": (lambda: Kept(3), "test_instances.Kept"),
    "ours": (lambda: SmallCNN(5, 3, width=4), "toughen.models.small_cnn.SmallCNN"),
    "timm": (lambda: timm.create_model("test_resnet", num_classes=6), "timm.models.resnet.test_resnet"),
    "timm ViT": (lambda: timm.create_model("test_vit", img_size=32), "timm.models.vision_transformer.test_vit"),
    "torchvision": (changed_head, "torchvision.models.squeezenet.squeezenet1_1"),
    "transformers": (
        lambda: ViTForImageClassification(ViTConfig(**SIZES, patch_size=8)),
        "transformers.models.vit.modeling_vit.ViTForImageClassification",
    ),
    "lost arguments": (lambda: Lost(3), "code/network.pt2:network"),
    "changed afterwards": (lambda: nn.Sequential(Kept(3), nn.Softplus()), "code/network.pt2:network"),
}


@pytest.fixture(autouse=True)
def _in_a_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("code/")]:
        del sys.modules[name]


def rebuilt_from(form: Any) -> nn.Module:
    RunFolder(".").write_code(sources(form))
    return from_description(form)()


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_described_gives_the_same_logits(kind: str) -> None:
    network, path = NETWORKS[kind][0](), NETWORKS[kind][1]
    form = described(network, IMAGES)
    assert form["class_path"].endswith(path)
    rebuilt = rebuilt_from(form)
    rebuilt.load_state_dict(network.state_dict())
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(logits_in(rebuilt.eval()(images)), logits_in(network.eval()(images)))


@pytest.mark.parametrize(
    ("network", "layer"), [(Kept(3), nn.Dropout(0.1)), (Skipping(), torchvision.ops.StochasticDepth(0.9, "row"))]
)
def test_another_rate_of_dropout_than_its_class_gives_is_kept(network: nn.Sequential, layer: nn.Module) -> None:
    network[1] = layer
    assert described(network.eval(), IMAGES)["class_path"] == "code/network.pt2:network"


def test_an_exported_program_can_be_attacked() -> None:
    rebuilt = rebuilt_from(described(Lost(3), IMAGES))
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    rebuilt.train().eval()(images).square().sum().backward()
    assert images.grad is not None and images.grad.flatten(1).norm(dim=1).min() > 0


def test_an_exported_program_is_not_trained_but_the_network_that_it_is_of(tmp_path: Path) -> None:
    network = Hidden(64)
    program = torch.export.export(network.eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: Dim("batch")},))
    traced = torch.fx.symbolic_trace(network)
    assert [has_eval_mode_alone(each) for each in (network, traced, program.module())] == [False, False, True]
    small: dict[str, Any] = {"epochs": 1, "budget": "none", "trackers": [], "train_images": 100, "method": Standard()}
    with pytest.raises(InputError, match="torch.export, which has eval mode alone and cannot be trained"):
        train(model=program.module(), out=str(tmp_path / "a"), **small)
    assert not (tmp_path / "a").exists()
    run = str(train(model=network, out=str(tmp_path / "b"), schedule=Constant(), **small).folder.path)
    with pytest.raises(InputError, match="give the network that it was exported from: .*resume=RUN"):
        train(resume=run, epochs=2, trust=["code"])
    assert train(model=network, resume=run, epochs=2).folder.read_config()["epochs"] == 2


def test_what_cannot_be_traced_is_refused() -> None:
    with pytest.raises(InputError, match=r"Branches could not be rebuilt from the run's folder.*torch\.export fails"):
        described(Branches(3), IMAGES)
