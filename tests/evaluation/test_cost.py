"""What the attacks are said to cost, against the passes that they take."""

from dataclasses import replace

import pytest
import torch
import zoo
from torch import Tensor, nn

from toughen.attacks import FGSM, MALT, PGD, AutoAttack, Square
from toughen.attacks.apgd import APGD
from toughen.attacks.base import Attack
from toughen.attacks.budgets import Budget
from toughen.attacks.fast_search import SearchPrecision
from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.evaluation.cost import cost_of
from toughen.evaluation.passes import Passes, passes_of
from toughen.evaluation.plan import prepare
from toughen.evaluation.progress import Step
from toughen.evaluation.runner import Runner, evaluate_model
from toughen.evaluation.settings import EvaluationSettings
from toughen.models.inference import frozen
from toughen.threat import ThreatModel


class Counted(nn.Module):
    """Counts the images of its passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.network(images)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


THREAT = ThreatModel("linf", 0.001)
"""No image breaks, so every attack goes to its end."""


@pytest.mark.parametrize(
    "attack",
    [
        FGSM(),
        PGD(5, restarts=2, keep_best=True, loss="margin"),
        APGD(10, 2),
        MALT(targets=2, steps=5, candidates=9),
        Square(60),
        pytest.param(AutoAttack(10), marks=pytest.mark.nightly),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_an_attack_takes_what_it_is_said_to(network, images, attack: Attack) -> None:
    pictures, labels = images.subset(torch.arange(4))
    counted = Counted(network).eval()
    with frozen(counted, "cpu") as judged:
        attack.run(judged, pictures, labels, THREAT, torch.Generator().manual_seed(0))
    said = passes_of(attack.settings(THREAT))
    assert said is not None
    for expected, came in zip(said, (counted.forwards, counted.backwards), strict=True):
        assert 0.8 * 4 * expected - 8 <= came <= 1.05 * 4 * expected + 8


def test_the_cost_of_a_budget_is_told_before_its_first_attack(network, images) -> None:
    asked = {"test_images": 30, "batch_size": 10, "device": "cpu", "checks": False}
    cost = {}
    for budget in ("quick", "fast", "standard"):
        plan = prepare(network, images, THREAT, budget=budget, **asked)
        cost[budget] = cost_of(plan)
        assert (cost[budget].seconds or 0) > 0 and not cost[budget].unknown
    assert cost["quick"].forward == 30 * (1 + 5 * 21)
    assert cost["fast"].forward < cost["standard"].forward / 5
    assert cost_of(plan, 10).backward * 3 == cost["standard"].backward
    steps: list[Step] = []
    Runner(prepare(network, images, THREAT, budget="quick", **asked), progress=steps.append).carry_out()
    assert steps[0].cost is not None and steps[0].cost.forward == cost["quick"].forward
    assert all(step.cost is None for step in steps[1:])


class Uncopyable(zoo.Around):
    def __deepcopy__(self, memo: dict) -> nn.Module:
        raise TypeError("cannot pickle 'generator' object")

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


@pytest.mark.filterwarnings("ignore:the model cannot be copied")
def test_a_model_that_cannot_be_copied_is_evaluated_without_a_time(network, images) -> None:
    steps: list[Step] = []
    given = {"test_images": 8, "device": "cpu", "budget": "quick", "checks": False}
    evaluation = evaluate_model(Uncopyable(network), images, THREAT, progress=steps.append, **given)
    assert evaluation.result["complete"]
    assert steps[0].cost is not None and steps[0].cost.forward == 8 * (1 + 5 * 21) and steps[0].cost.seconds is None


DEFENCES = [
    zoo.HugeTemperature, zoo.Clipped, zoo.Rectified, zoo.Masked, zoo.Quantised, zoo.FalseGradient, zoo.Undifferentiable,
    zoo.BatchStatistics, zoo.RandomResize, zoo.Rippled, zoo.HalfGradient, zoo.KWinners, zoo.CountsQueries,
]  # fmt: skip


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.__name__)
def test_defences_that_hinder_gradients_hinder_no_estimate(network, images, defence: type[nn.Module]) -> None:
    plan = prepare(network, images, THREAT, budget="quick", test_images=8, device="cpu", checks=False)
    cost = cost_of(replace(plan, fresh=defence(network).eval()))
    assert cost.seconds is not None and cost.likely is not None
    assert 0 < cost.likely <= cost.seconds


def test_what_is_likely_is_told_from_all_parts_of_the_images(network, images) -> None:
    """The first fifth is misclassified, as a class of a folder may be, and everything else holds."""
    pictures, labels = images.subset(torch.arange(200))
    with torch.no_grad():
        labels = network(pictures).argmax(1)
    labels[:40] = (labels[:40] + 1) % 10
    given = replace(images, images=Decoded((255 * pictures).round().byte()), labels=labels)
    plan = prepare(network, given, THREAT, budget="standard", sample="first", device="cpu", checks=False, batch_size=7)
    cost = cost_of(plan)
    assert cost.seconds is not None and cost.likely is not None
    assert 0.7 < cost.likely / cost.seconds < 0.9


def test_an_attack_of_ones_own_is_named(network, images) -> None:
    asked = {"test_images": 8, "device": "cpu", "budget": "none", "attacks": {"mine": lambda model, x, y: x}}
    assert cost_of(prepare(network, images, THREAT, **asked)).unknown == ("mine",)


def made(network: nn.Module, images: ImageSet, threat: ThreatModel, settings: EvaluationSettings) -> Passes:
    """Passes of the attacks alone: what is judged anew is little."""
    counted, copies = Counted(network).eval(), Counted(network)
    plan = replace(prepare(counted, images, threat, settings), fresh=copies)
    before = counted.forwards, counted.backwards
    Runner(plan).carry_out()
    return Passes(counted.forwards - before[0], counted.backwards - before[1])


@pytest.mark.filterwarnings("ignore:--precision")
@pytest.mark.parametrize("robust", [False, True], ids=["undefended", "robust"])
@pytest.mark.parametrize(
    ("budget", "precision"),
    [
        ("quick", "fp32"),
        pytest.param("fast", "fp32", marks=pytest.mark.nightly),
        pytest.param("standard", "fp32", marks=pytest.mark.nightly),
        pytest.param("standard", "folded", marks=pytest.mark.nightly),
    ],
)
def test_what_is_likely_is_right_within_a_factor_of_two(
    network, robust_network, images, budget: Budget, precision: SearchPrecision, robust: bool
) -> None:
    threat = ThreatModel("linf", 0.1)
    settings = EvaluationSettings(budget, test_images=40, device="cpu", checks=False, precision=precision)
    model = robust_network if robust else network
    cost = cost_of(prepare(model, images, threat, settings))
    forward, backward = made(model, images, threat, settings)
    # In passes of one cost, backward ones twice: seconds of so small a network are not those of passes alone.
    assert cost.seconds is not None and cost.likely is not None
    share, most = cost.likely / cost.seconds, cost.forward + 2 * cost.backward
    assert share * most / 2 <= forward + 2 * backward <= min(2 * share, 1.1) * most
