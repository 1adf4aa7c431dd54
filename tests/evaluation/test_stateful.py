"""A model that remembers what it was asked is told from one that does not, by a copy that was asked nothing."""

import copy

import pytest
import zoo
from torch import Tensor, nn

from toughen.data import ImageSet
from toughen.errors import ToughenWarning
from toughen.evaluation import Requirement, evaluate_model
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_self_checks", "short_further")


def quick(model: nn.Module, images: ImageSet, n: int = 20) -> dict:
    threat = ThreatModel("linf", 0.1)
    return evaluate_model(model, images, threat, budget="quick", test_images=n, device="cpu").result


def verdict(result: dict) -> bool | None:
    return next(check["passed"] for check in result["checks"] if check["name"] == "fresh_copy_agrees")


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_detector_that_counts_queries_does_not_pass(network, images: ImageSet):
    """It answers as the network does at first: what it is said to hold beyond that is flattery."""
    plain, masked = quick(network, images), quick(zoo.CountsQueries(network), images)
    assert masked["robust_accuracy"]["held"] > plain["robust_accuracy"]["held"] + 2
    assert (verdict(plain), verdict(masked)) == (True, False)
    assert "fresh_copy_agrees" in masked["masking_suspected"]
    assert not Requirement.parse("checks", []).judge(masked).met
    assert plain["judged_again"] == {"n": 40, "differ": 0, "lost": 0, "won": 0, "copied": True, "random": False}


class Uncopyable(zoo.Around):
    def __deepcopy__(self, memo: dict) -> nn.Module:
        raise TypeError("one of a kind")

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def test_a_model_that_cannot_be_copied_is_asked_again(network, images: ImageSet):
    with pytest.warns(ToughenWarning, match="cannot be copied .TypeError: one of a kind"):
        result = quick(Uncopyable(network), images, n=6)
    assert verdict(result) is True
    assert result["judged_again"]["copied"] is False


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_network_that_keeps_a_computed_weight_is_copied(network, images: ImageSet):
    """Its weight has a history, which `copy.deepcopy` refuses; the figure is that without weight norm."""
    computed = copy.deepcopy(network)
    nn.utils.weight_norm(computed[4])
    plain, normed = quick(network, images, n=6), quick(computed, images, n=6)
    assert normed["judged_again"] == plain["judged_again"] == {**plain["judged_again"], "copied": True}
    assert normed["robust_accuracy"] == plain["robust_accuracy"]


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_random_model_is_not_taken_for_one_that_remembers(network, images: ImageSet):
    assert verdict(quick(zoo.RandomResize(network), images)) is True


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_logits_that_change_with_the_batch(network, images: ImageSet):
    assert verdict(quick(zoo.BatchStatistics(network).eval(), images)) is False
