"""MeanSparse against its authors' layer, and the checks that an evaluation of it passes through."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from toughen.data import Digits, ImageSet
from toughen.errors import InputError, ToughenWarning
from toughen.evaluation import Evaluation, evaluate_model
from toughen.evaluation.checks.doubts import reasons
from toughen.models import MeanSparse, SmallCNN, mean_sparse, set_threshold
from toughen.threat import ThreatModel

REFERENCE = load_file(Path(__file__).parents[1] / "reference" / "mean_sparse.safetensors")
"""Of the layer MeanSparse in github.com/SPIN-UMass/MeanSparse, commit 52e6c03, CIFAR10_L2/utils_sparse.py, behind each
BatchNorm of the network below, with the statistics of all images as one batch; in float64."""


class Tiny(nn.Module):
    """The network of the reference values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def network() -> nn.Module:
    model = Tiny().double()
    model.load_state_dict({name: REFERENCE[f"initial.{name}"] for name in model.state_dict()})
    return model


@pytest.mark.parametrize("threshold", [0.0, 0.25, 1.0])
def test_outputs_and_gradients_are_those_of_the_authors_layer(network: nn.Module, threshold: float) -> None:
    images = REFERENCE["images"].clone().requires_grad_(True)
    sparse = set_threshold(mean_sparse(network, images.detach(), 0.1), threshold)
    for place in (1, 2):
        layer = sparse.get_submodule(f"bn{place}")
        torch.testing.assert_close(layer.mean, REFERENCE[f"mean{place}"], atol=1e-12, rtol=0)
        torch.testing.assert_close(layer.std.square(), REFERENCE[f"var{place}"], atol=1e-12, rtol=0)
    logits = sparse(images)
    torch.testing.assert_close(logits, REFERENCE[f"logits.{threshold}"], atol=1e-12, rtol=0)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, REFERENCE["labels"], reduction="sum"), images)
    torch.testing.assert_close(gradient, REFERENCE[f"gradient.{threshold}"], atol=1e-12, rtol=0)


def test_the_given_network_stays_as_it_was(network: nn.Module) -> None:
    images, before = REFERENCE["images"], {name: value.clone() for name, value in network.state_dict().items()}
    logits = network.eval()(images)
    sparse = mean_sparse(network.train(), images, 1.0)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in sparse.modules())
    torch.testing.assert_close(network.eval()(images), logits)
    assert not torch.allclose(sparse(images), logits)


def test_statistics_do_not_depend_on_how_images_are_split(monkeypatch: pytest.MonkeyPatch, network: nn.Module) -> None:
    whole = mean_sparse(network, REFERENCE["images"], 0.5)
    monkeypatch.setattr("toughen.models.mean_sparsity._CHUNK", 5)
    parts = mean_sparse(network, REFERENCE["images"], 0.5)
    torch.testing.assert_close(whole(REFERENCE["images"]), parts(REFERENCE["images"]))


def test_named_layers_nested_ones_too_and_what_cannot_be() -> None:
    model, images = SmallCNN(5, 1, width=4), torch.rand(6, 1, 6, 6)
    sparse = mean_sparse(model, images, 0.5, layers=["features", "features.0"])
    assert sum(isinstance(module, MeanSparse) for module in sparse.modules()) == 2
    assert sparse(images).isfinite().all()
    with pytest.raises(InputError, match="no BatchNorm"):
        mean_sparse(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), images, 0.5)
    with pytest.raises(InputError, match="made by mean_sparse"):
        set_threshold(model, 0.5)
    with pytest.raises(InputError, match="threshold"):
        mean_sparse(model, images, -1)


@pytest.mark.nightly
def test_an_evaluation_doubts_what_masked_gradients_hold(robust_network: nn.Module, images: ImageSet) -> None:
    """The robust network itself is not doubted; with most of its features replaced it is, and with reason."""
    train = Digits().load("train").subset(torch.arange(1000))[0]
    sparse = mean_sparse(robust_network, train, 1.0)
    plain = evaluated(robust_network, images)
    with pytest.warns(ToughenWarning, match="the gradient does not promise what the model does"):
        masked = evaluated(sparse, images)
    assert not reasons(plain.result)
    assert reasons(masked.result)
    assert "further_square" in masked.result["attacks"]
    assert masked.robust_accuracy < plain.robust_accuracy


def evaluated(model: nn.Module, images: ImageSet) -> Evaluation:
    return evaluate_model(model, images, ThreatModel("linf", 0.1), budget="standard", test_images=60, device="cpu")
