"""What the outputs of clean images give away, against figures computed here."""

import numpy as np
import pytest
import torch
import zoo
from torch import Tensor, nn

from toughen.errors import InputError
from toughen.random_state import seeded


class After(zoo.Around):
    """A function of the network's logits."""

    def __init__(self, network: nn.Module, function) -> None:
        super().__init__(network)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.network(images))


def test_weights_of_other_formats(look, network: nn.Module):
    double = zoo.Around(network).network.double()
    found = look(double)
    assert [(finding.name, finding.severity) for finding in found.values()] == [("dtype", "note")]
    assert "weights in float64; a copy of it is evaluated in float32" in found["dtype"].message


def test_a_cast_in_the_forward_pass(look, network: nn.Module):
    found = look(After(network, lambda logits: logits.bfloat16()).eval())
    assert found["half_precision"].severity == "doubt"
    assert "come out in bfloat16" in found["half_precision"].message


def test_nan(look, network: nn.Module, digits):
    def poison(logits: Tensor) -> Tensor:
        return torch.where(logits[:, :1] > logits[:, 1:2], torch.nan, logits)

    with torch.no_grad():
        logits = network(digits[0])
    share = float((logits[:, 0] > logits[:, 1]).float().mean())
    found = look(After(network, poison).eval())
    assert list(found) == ["nan"]
    assert found["nan"].figures == {"share": pytest.approx(share), "n": 128}
    assert "they are counted as misclassified" in found["nan"].message


def test_accuracy_on_rescaled_images(look, network: nn.Module, digits):
    """Each accuracy of the finding is that of a plain pass over images rescaled by hand."""
    images, labels = digits
    model = zoo.NormalisedOutside(network, 0.5, 0.5).eval()

    def accuracy(shown: Tensor) -> float:
        with torch.no_grad():
            return float((model(shown).argmax(1) == labels).float().mean())

    figures = look(model)["normalisation"].figures
    assert figures["accuracy"] == {
        "as given": accuracy(images),
        "values from 0 to 255": accuracy(images * 255),
        "values from -1 to 1": accuracy(2 * images - 1),
        "MNIST's mean and deviation": accuracy((images - 0.1307) / 0.3081),
        "the data's own mean and deviation": accuracy((images - images.mean()) / images.std()),
    }
    assert figures["accuracy"][figures["best"]] == max(figures["accuracy"].values())


class Bright(nn.Module):
    """Says 1 to images with large values, 0 to others."""

    def forward(self, images: Tensor) -> Tensor:
        largest = images.flatten(1).amax(1) - 1.5
        return torch.stack([-largest, largest, *[largest.detach() * 0 - 999] * 8], dim=1)


def test_a_gain_that_a_constant_answer_would_have_too_is_no_finding(look, digits):
    """All labels are 1: of the rescaled images all are right, as they are none, and nothing is known of the network."""
    images, labels = digits[0], torch.ones(128, dtype=torch.int64)
    with torch.no_grad():
        assert (Bright()(images).argmax(1) != labels).all()
        assert (Bright()(images * 255).argmax(1) == labels).all()
    assert "normalisation" not in look(Bright().eval(), (images, labels))


def test_share_of_flips(look, network: nn.Module, digits):
    model = zoo.RandomResize(network).eval()
    with torch.no_grad():
        with seeded(0):
            first = model(digits[0]).argmax(1)
        with seeded(1):
            second = model(digits[0]).argmax(1)
    found = look(model)
    assert found["randomness"].figures["flipped"] == float((first != second).float().mean()) > 0


def test_randomness_that_is_not_torchs(look, network: nn.Module):
    draws = np.random.default_rng(0)
    found = look(After(network, lambda logits: logits + 0.1 * draws.normal()).eval())
    assert list(found) == ["randomness"]
    assert found["randomness"].figures["flipped"] == 0


def test_several_passes(look, network: nn.Module):
    """With eot randomness is no doubt any more; without randomness eot is for nothing."""
    found = look(zoo.RandomResize(network).eval(), eot=8)
    assert [(finding.name, finding.severity) for finding in found.values()] == [("randomness", "note")]
    assert "the mean of 8 passes" in found["randomness"].message
    assert "only makes the evaluation slower" in look(network, eot=8)["randomness"].message


@pytest.mark.parametrize("factor", [5.0, 10.0, 20.0])
def test_underflow(look, network: nn.Module, digits, factor: float):
    """The second probability, in double precision, is below fp32's smallest normal number."""
    with torch.no_grad():
        second = (factor * network(digits[0])).double().softmax(1).topk(2, 1).values[:, 1]
    share = float((second < torch.finfo(torch.float32).tiny).double().mean())
    finding = look(zoo.HugeTemperature(network, factor).eval())["saturated_logits"]
    assert finding.figures["underflow"] == pytest.approx(share, abs=0.02)
    assert finding.severity == ("doubt" if finding.figures["underflow"] > 0.05 else "note")


def test_a_model_that_changes_its_images(look, network: nn.Module, digits):
    class InPlace(zoo.Around):
        def forward(self, images: Tensor) -> Tensor:
            return self.network(images.sub_(0.1))

    before = digits[0].clone()
    with pytest.raises(InputError, match=r"changes the images .* images = images - mean"):
        look(InPlace(network).eval())
    assert torch.equal(digits[0], before)


def test_nothing_is_touched(look, network: nn.Module):
    """Not even the statistics of a model that stays in train mode."""
    model = zoo.RefusesEval(network)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = torch.get_rng_state()
    look(model)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("count", [2, 3])
def test_two_and_three_images_depend_on_each_other(look, network: nn.Module, digits, count: int):
    """Also where that is the size of the batches; the network itself does not, at any of these."""
    images, labels = digits
    few = (images[:count], labels[:count])
    assert "batch_dependence" in look(zoo.BatchStatistics(network).eval(), few, evaluated=labels)
    assert "batch_dependence" in look(zoo.BatchStatistics(network).eval(), batch_size=count)
    assert look(network, few, evaluated=labels) == {}
