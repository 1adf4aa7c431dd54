"""An attack that sees only classes: what it cannot break, what it must, and that it sees no more."""

import copy

import pytest
import torch
from torch import Tensor, nn

from toughen.data import sample_by_class
from toughen.errors import InputError
from toughen.evaluation.analyses import DecisionBased
from toughen.threat import ThreatModel


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.012), ("l2", 0.08), ("l1", 0.6)])
def test_beside_a_plane(study, linear, norm: str, eps: float) -> None:
    """It breaks no image that lies farther away than eps, and those that lie at a third of it."""
    facts = study(DecisionBased(images=40, queries=1500), linear.model, linear.images, ThreatModel(norm, eps))
    sizes = linear.smallest(norm)
    assert sum(size > eps for size in sizes) <= facts["held"] <= sum(size > eps / 3 for size in sizes)
    assert facts["held"] < 30
    assert {name: facts[name] for name in ("attack", "norm", "eps", "queries", "n", "warnings")} == {
        "attack": "HopSkipJump",
        "norm": norm,
        "eps": eps,
        "queries": 1500,
        "n": 40,
        "warnings": [],
    }


class ClassAlone(nn.Module):
    """One-hot logits: no gradient, no confidence."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return 5 * nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float() - 1


def test_only_classes_are_seen(study, network, images) -> None:
    """The same verdicts where the model says nothing but the class."""
    threat, settings = ThreatModel("linf", 0.1), {"test_images": 12, "batch_size": 12}
    analysis = DecisionBased(images=12, queries=800)
    frozen = copy.deepcopy(network).requires_grad_(False)
    told = study(analysis, frozen, images, threat, **settings)
    assert told == study(analysis, ClassAlone(frozen), images, threat, **settings)
    assert 0 < told["held"] < 12


class Counting(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return self.network(images)


def test_it_asks_no_more_than_it_may(study, network, images) -> None:
    asked = []
    for queries in (100, 300):
        model = Counting(network)
        study(DecisionBased(images=8, queries=queries), model, images, ThreatModel("linf", 0.001), test_images=8)
        asked.append(model.asked)
    assert asked[1] - asked[0] == 8 * 200


class Coin(nn.Module):
    """Says the label or another class at random."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), 2) * 1e3


def test_a_random_model_ends_it_early(study, linear) -> None:
    facts = study(DecisionBased(images=20, queries=100_000), Coin(), linear.images, ThreatModel("linf", 1e-4))
    assert any("differently" in warning for warning in facts["warnings"])
    assert facts["n"] == 20


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * 0 + torch.tensor([2.0, 0.0])


def test_where_nothing_is_misclassified_there_is_no_start(study, linear) -> None:
    facts = study(DecisionBased(), Constant(), linear.images, ThreatModel())
    labels = linear.images.labels
    right = int((labels[sample_by_class(labels, 20, seed=0)] == 0).sum())
    assert facts["held"] == right
    assert any("left alone" in warning for warning in facts["warnings"])


def test_the_same_again_and_nothing_of_the_caller_is_touched(study, linear) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    analysis, threat = DecisionBased(queries=200), ThreatModel("l2", 0.05)
    assert study(analysis, linear.model, linear.images, threat) == study(analysis, linear.model, linear.images, threat)
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_out_of_range() -> None:
    with pytest.raises(InputError, match="queries: expected at least 1, got 0"):
        DecisionBased(queries=0)
