"""Every broken defence of the zoo is caught by the check that is meant for it."""

import re
from collections.abc import Callable

import pytest
import zoo
from torch import nn

CASES: dict[str, tuple[Callable[[nn.Module], nn.Module], set[str], str]] = {
    "values from 0 to 255": (
        lambda network: zoo.NormalisedOutside(network, 0.0, 1 / 255),
        {"normalisation", "constant_predictions"},
        r"9\.4 % of 128 .* 9\d\.\d % after rescaling \(values from 0 to 255\).*Normalize\(\[0\], \[0\.003922\]\)",
    ),
    "mean and deviation": (
        lambda network: zoo.NormalisedOutside(network, 0.5, 0.5),
        {"normalisation"},
        r"after rescaling \(.*Classifier\(Normalize\(",
    ),
    "probabilities": (zoo.Probabilities, {"probabilities"}, "remove the softmax"),
    "huge temperature": (zoo.HugeTemperature, {"saturated_logits"}, r"underflows for 100\.0 % of 128"),
    "clipped logits": (
        lambda network: zoo.Clipped(network, 4.0),
        {"clipped_logits"},
        r"exactly 4 for 100\.0 % of 128 images",
    ),
    "a ReLU on the logits": (zoo.Rectified, {"clipped_logits"}, r"smallest logit is exactly 0 for .* after a ReLU"),
    "quantised input": (zoo.Quantised, {"zero_gradients"}, r"100\.0 % of 64 images: .*Square"),
    "quantised, straight through": (
        lambda network: zoo.StraightThrough(network, 5),
        {"false_gradients"},
        "does not raise the loss as it should",
    ),
    "false gradient": (zoo.FalseGradient, {"false_gradients"}, r"64 of 64 images \(100\.0 %\)"),
    "half of the gradient": (zoo.HalfGradient, {"false_gradients"}, "in random directions"),
    "another gradient": (zoo.OtherGradient, {"false_gradients"}, "not the model's own"),
    "noise on the gradient": (zoo.NoisyBackward, {"false_gradients"}, "not the model's own"),
    "ripples on the logits": (zoo.RippledLogits, {"false_gradients"}, "not the model's own"),
    "ripples": (zoo.Rippled, {"rough_gradients"}, "as far away as one step"),
    "largest values only": (zoo.KWinners, {"rough_gradients"}, "rugged"),
    "no gradient": (zoo.Undifferentiable, {"not_differentiable"}, "only what Square finds counts"),
    "refuses eval mode": (zoo.RefusesEval, {"train_mode", "batch_dependence"}, "7 of 7 modules stay in train mode"),
    "statistics of the batch": (zoo.BatchStatistics, {"batch_dependence"}, "BatchNorm2d without running statistics"),
    "random resize": (zoo.RandomResize, {"randomness"}, "eot=20"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_caught_by_its_check(look, network: nn.Module, case: str):
    make, doubts, message = CASES[case]
    found = look(make(network).eval())
    assert {name for name, finding in found.items() if finding.severity == "doubt"} == doubts
    assert any(re.search(message, found[name].message) for name in doubts)


def test_the_network_itself_is_not_doubted(look, network: nn.Module):
    assert look(network) == {}


def test_a_masked_class_is_no_clipping(look, network: nn.Module):
    assert "clipped_logits" not in look(zoo.Masked(network).eval())


def test_a_network_in_train_mode_is_evaluated_in_eval_mode(look, network: nn.Module):
    """A note, and no doubt: the flags are set for the evaluation and given back."""
    mine = zoo.Around(network).network.train()
    found = look(mine)
    assert list(found) == ["train_mode_given"]
    assert found["train_mode_given"].severity == "note"
    assert found["train_mode_given"].message.startswith("6 of 6 modules were handed over in train mode")
    assert all(module.training for module in mine.modules())
