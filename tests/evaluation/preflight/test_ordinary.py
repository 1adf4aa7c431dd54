"""Ordinary networks of 2 to 100 classes, in every norm: nothing is said of their outputs and gradients."""

import pytest
import torch
from torch import Tensor, nn

from toughen.models import ResNet18, SmallCNN
from toughen.threat import Norm, ThreatModel

ABOUT_GUESSING = {"constant_predictions", "chance_level"}
THREATS = {"linf": 8 / 255, "l2": 0.5, "l1": 4.0}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_trained_network(look, network: nn.Module, norm: Norm):
    assert look(network, threat=ThreatModel(norm, THREATS[norm])) == {}


def untrained(make: type[nn.Module], num_classes: int, channels: int, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with random weights, of whose images half are labelled as it classifies them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(num_classes)
        width = {"width": 8} if make is ResNet18 else {}
        network = make(num_classes=num_classes, in_channels=channels, **width).eval()
    generator = torch.Generator().manual_seed(num_classes)
    images = torch.rand(128, channels, size, size, generator=generator)
    with torch.no_grad():
        labels = network(images).argmax(1)
    labels[::2] = torch.randint(0, num_classes, (64,), generator=generator)
    return network, images, labels


@pytest.mark.parametrize(
    ("num_classes", "norm"),
    [(2, "linf"), (2, "l1"), (3, "l2"), (10, "linf"), (10, "l2"), (10, "l1"), (37, "linf"), (100, "l2"), (100, "l1")],
)
@pytest.mark.parametrize(("make", "channels", "size"), [(SmallCNN, 1, 8), (SmallCNN, 3, 16), (ResNet18, 1, 8)])
def test_random_weights(look, make: type[nn.Module], num_classes: int, channels: int, size: int, norm: Norm):
    """That they are no better than a guess may be said, and which classes have no image."""
    network, images, labels = untrained(make, num_classes, channels, size)
    classes = tuple(str(number) for number in range(num_classes))
    found = look(network, (images, labels), classes=classes, threat=ThreatModel(norm, THREATS[norm]))
    assert found.keys() <= ABOUT_GUESSING | {"classes_unseen"}


def test_confident_networks(look, network: nn.Module):
    """Logits three times as far apart: probabilities of 1 are noted, and no doubt follows."""
    found = look(nn.Sequential(network, Times(3.0)).eval())
    assert [(finding.name, finding.severity) for finding in found.values()] == [("saturated_logits", "note")]
    assert 0.05 < found["saturated_logits"].figures["probability_1"] < 1


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return self.factor * logits


def test_log_probabilities_are_logits(look, network: nn.Module):
    assert look(nn.Sequential(network, nn.LogSoftmax(1)).eval()) == {}


@pytest.mark.parametrize("batch_size", [1, 2, 7, 60])
def test_small_batches(look, network: nn.Module, batch_size: int):
    assert look(network, batch_size=batch_size) == {}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images(look, network: nn.Module, digits, count: int):
    images, labels = digits
    assert look(network, (images[:count], labels[:count]), evaluated=labels) == {}
