"""Units of eps and images, and labels against classes."""

import re

import pytest
import torch
from torch import nn

from toughen.errors import InputError
from toughen.threat import ThreatModel


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        (ThreatModel("linf", "0.06/255"), r"is 0\.06 of an 8-bit step"),
        (ThreatModel("linf", 8 / 255 / 255), r"did you mean 8/255\?"),
        (ThreatModel("l2", 0.5 / 255), r"did you mean 0\.5\?"),
        (ThreatModel("l2", "8/255"), r"is it an l-inf radius\?"),
        (ThreatModel("l1", 12 / 255), r"did you mean 12\?"),
        (ThreatModel("linf", 0.6), r"plain gray \(images are at most 1 apart\)"),
        (ThreatModel("l2", 6.0), r"plain gray \(images are at most 8 apart\).*did you mean 6/255\?"),
        (ThreatModel("l1", 33.0), r"plain gray \(images are at most 64 apart\)"),
    ],
)
def test_eps_in_other_units(look, network: nn.Module, threat: ThreatModel, message: str):
    found = look(network, threat=threat)
    assert list(found) == ["eps_units"]
    assert found["eps_units"].severity == "doubt"
    assert re.search(message, found["eps_units"].message)
    assert found["eps_units"].figures["eps"] == threat.radius


@pytest.mark.parametrize(
    "threat", [ThreatModel("linf", "0.5/255"), ThreatModel("linf", 0.5), ThreatModel("l2", 3.9), ThreatModel("l1", 31)]
)
def test_radii_within_reason(look, network: nn.Module, threat: ThreatModel):
    assert look(network, threat=threat) == {}


def test_images_divided_twice(look, network: nn.Module, digits):
    images, labels = digits
    finding = look(network, (images / 255, labels))["image_range"]
    assert finding.severity == "doubt"
    assert finding.figures["largest"] == pytest.approx(float(images.max()) / 255)


@pytest.mark.parametrize(("shift", "message"), [(1, "1 .. 10; count them from 0"), (2, "2 .. 11; give the classes")])
def test_labels_of_no_class(look, network: nn.Module, digits, shift: int, message: str):
    """Also where none of the images that are looked at has such a label."""
    with pytest.raises(InputError, match=re.escape(message)):
        look(network, evaluated=digits[1] + shift)


def test_classes_without_images(look, network: nn.Module, digits):
    found = look(network, evaluated=digits[1][digits[1] < 3])
    assert list(found) == ["classes_unseen"]
    finding = found["classes_unseen"]
    assert finding.severity == "note"
    assert finding.message.startswith("7 of 10 classes have no image among the ")
    assert finding.figures["unseen"] == ["3", "4", "5", "6", "7", "8", "9"]


def test_classes_in_another_order(look, network: nn.Module, digits):
    images, labels = digits
    found = look(network, (images, (labels + 3) % 10))
    assert list(found) == ["chance_level"]
    right = int((network(images).argmax(1) == (labels + 3) % 10).sum())
    ordered = int((network(images).argmax(1) == labels).sum())
    assert found["chance_level"].figures == {"right": right, "n": 128, "chance": 0.1}
    assert f"in another order {ordered} would be right" in found["chance_level"].message


def test_labels_of_other_images(look, network: nn.Module, digits):
    images, labels = digits
    shuffled = labels[torch.randperm(128, generator=torch.Generator().manual_seed(0))]
    finding = look(network, (images, shuffled))["chance_level"]
    assert finding.severity == "doubt"
    assert "check that the weights belong to the network" in finding.message


def test_the_same_class_for_all(look, network: nn.Module):
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = network(images)
            return torch.cat([logits[:, :4], logits[:, 4:5] + 100, logits[:, 5:]], dim=1)

    finding = look(Constant().eval())["constant_predictions"]
    assert finding.message.startswith("the model says '4' to each of 128 images, which are of 10 classes")


def test_few_images_say_nothing_of_guessing(look, network: nn.Module, digits):
    images, labels = digits
    assert look(network, (images[:40], (labels[:40] + 3) % 10), evaluated=labels) == {}
