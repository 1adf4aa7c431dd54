"""Each broken defence, and each attack too weak, fails the check that is meant for it; sound models fail none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import zoo
from torch import nn

from toughen.attacks import FGSM, PGD, Square
from toughen.attacks.base import PlannedAttack
from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import ToughenWarning
from toughen.evaluation import Evaluation, Requirement, evaluate_model
from toughen.threat import Norm, ThreatModel

pytestmark = pytest.mark.usefixtures("short_further")

THREAT = ThreatModel("linf", 0.1)


def quick(model: nn.Module, images: ImageSet, threat: ThreatModel = THREAT, n: int = 100, **settings) -> Evaluation:
    given = {"budget": "quick", "test_images": min(n, len(images)), "sample": "first", "device": "cpu", **settings}
    return evaluate_model(model, images, threat, **given)


def failed(evaluation: Evaluation) -> list[str]:
    names = [check["name"] for check in evaluation.result["checks"] if check["passed"] is False]
    assert names == evaluation.result["masking_suspected"]
    return names


@contextmanager
def attacked_by(*attacks: PlannedAttack) -> Iterator[None]:
    """The budget's attacks are these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toughen.evaluation.plan.attacks_of", lambda budget, num_classes, norm: attacks)
        yield


BROKEN: dict[str, tuple[Callable[[nn.Module, ImageSet], nn.Module], str, str]] = {
    "huge temperature": (
        lambda network, _: zoo.HugeTemperature(network),
        "unbounded_reaches_zero",
        "the cross-entropy gives no gradient",
    ),
    "quantised input": (
        lambda network, _: zoo.Quantised(network),
        "unbounded_reaches_zero",
        "the cross-entropy and the margin give no gradient",
    ),
    "clipped logits": (
        lambda network, _: zoo.Clipped(network),
        "unbounded_reaches_zero",
        "the cross-entropy and the margin give no gradient",
    ),
    "false gradient": (
        lambda network, _: zoo.FalseGradient(network),
        "unbounded_reaches_zero",
        "the cross-entropy and the margin give no gradient",
    ),
    "no gradient": (
        lambda network, _: zoo.Undifferentiable(network),
        "unbounded_reaches_zero",
        "the cross-entropy and the margin give no gradient",
    ),
    "flat far away": (
        lambda network, images: zoo.Snapping(network, images.subset(torch.arange(100))[0], reach=0.15),
        "eps_never_helps",
        "99 of 100 images (99.0 %) at 0.2",
    ),
    "ripples": (
        lambda network, _: zoo.Rippled(network),
        "iterative_beats_single_step",
        "the gradient misleads",
    ),
}


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")  # the preflight has its say, too
@pytest.mark.parametrize("defence", BROKEN)
def test_a_broken_defence_is_caught(network, images, defence: str):
    build, meant, message = BROKEN[defence]
    evaluation = quick(build(network, images), images)
    assert meant in failed(evaluation)
    assert message in next(row["message"] for row in evaluation.result["checks"] if row["name"] == meant)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")  # the preflight has its say, too
@pytest.mark.parametrize(
    "defence", [zoo.RippledLogits, zoo.HalfGradient, zoo.OtherGradient, zoo.NoisyBackward, zoo.KWinners]
)
def test_a_gradient_that_leads_astray_does_not_pass_the_gate(network, images, defence: type[nn.Module]):
    """Transferred images of the network itself give the truth: the figure is true, or `checks` does not let it pass."""
    masked = defence(network)
    evaluation = quick(masked, images)
    pictures, labels = images.subset(torch.arange(100))
    attack = PGD(20, restarts=5, keep_best=True, loss="margin")
    shown = attack(network, pictures, labels, THREAT, torch.Generator().manual_seed(0))
    with torch.no_grad():
        truth = float(((masked(pictures).argmax(1) == labels) & (masked(shown).argmax(1) == labels)).float().mean())
    reported = evaluation.result["robust_accuracy"]["accuracy"]
    outcome = Requirement.parse("checks", []).judge(evaluation.result)
    assert reported <= truth + 0.03 or not outcome.met, (reported, truth, outcome.reason)


@pytest.mark.parametrize(
    "weak", [PGD(steps=2, step_size=0.04), PGD(steps=3, step_size=0.01, loss="margin"), FGSM(step_size=0.02)], ids=repr
)
def test_too_few_steps_are_caught(robust_network, images, weak: PGD):
    """The same model under PGD-20 passes: it is among the sound ones."""
    threat = ThreatModel("linf", 0.2)
    with attacked_by(PlannedAttack("weak", weak)):
        evaluation = quick(robust_network, images, threat)
    assert "attack_converged" in failed(evaluation)
    assert not {"unbounded_reaches_zero", "eps_never_helps"} & set(failed(evaluation)), "the model is sound"


def test_noise_finds_what_an_attack_without_a_gradient_cannot(network, images):
    """At a radius at which noise breaks many images, one start of PGD breaks few."""
    with pytest.warns(ToughenWarning, match="gradient"), attacked_by(PlannedAttack("pgd", PGD(steps=5))):
        evaluation = quick(zoo.Quantised(network), images, ThreatModel("linf", 0.2))
    assert "noise_never_wins" in failed(evaluation)


def test_square_finds_what_the_gradient_does_not_show(network, images):
    with (
        pytest.warns(ToughenWarning, match="gradient"),
        attacked_by(PlannedAttack("pgd", PGD(steps=5)), PlannedAttack("square", Square(queries=200), True)),
    ):
        evaluation = quick(zoo.Quantised(network), images, ThreatModel("linf", 0.2), n=50)
    assert "black_box_never_wins" in failed(evaluation)


def test_transfer_finds_what_the_gradient_does_not_show(network, robust_network, images):
    with pytest.warns(ToughenWarning, match="gradient"):
        masked = quick(zoo.Quantised(network), images, transfer={"bare": network})
    assert "black_box_never_wins" in failed(masked)
    assert failed(quick(network, images, transfer={"robust": robust_network})) == []


@pytest.mark.parametrize(
    ("norm", "eps", "n"),
    [
        ("linf", 0.02, 100),
        ("linf", 0.1, 100),
        ("linf", 0.1, 20),
        ("linf", 0.2, 100),
        ("linf", 0.3, 100),
        ("l2", 0.6, 50),
        ("l1", 1.5, 50),
    ],
)
@pytest.mark.parametrize("trained", ["network", "robust_network"])
def test_a_sound_model_is_not_suspected(request, images, trained: str, norm: Norm, eps: float, n: int):
    evaluation = quick(request.getfixturevalue(trained), images, ThreatModel(norm, eps), n, batch_size=60)
    assert failed(evaluation) == []
    unjudged = [check["name"] for check in evaluation.result["checks"] if check["passed"] is None]
    assert unjudged == []
    assert Requirement.parse("checks", []).judge(evaluation.result).met


@pytest.mark.parametrize("num_classes", [2, 3, 37])
def test_few_and_many_classes(few_classes, untrained, images, num_classes: int):
    if num_classes == 37:
        model, pictures, _ = untrained(37, 3, 8)
        stored = torch.randint(0, 256, (60, *pictures.shape[1:]), generator=torch.Generator().manual_seed(0)).byte()
        with torch.no_grad():
            labels = model(stored / 255).argmax(1)
        classes = tuple(map(str, range(37)))
        given, eps = replace(images, images=Decoded(stored), labels=labels, classes=classes), 0.004
    else:
        model, _, _ = few_classes(num_classes)
        kept = (images.labels < num_classes).nonzero().squeeze(1)
        pixels, labels = Decoded(images.images.take(kept)), images.labels[kept]
        given, eps = replace(images, images=pixels, labels=labels, classes=images.classes[:num_classes]), 0.2
    evaluation = quick(model, given, ThreatModel("linf", eps))
    assert failed(evaluation) == []
    assert 0 < evaluation.result["robust_accuracy"]["held"] < evaluation.result["figures"]["clean"]["held"]


def test_the_standard_budget_judges_them_all(robust_network, images, short_autoattack):
    evaluation = quick(robust_network, images, ThreatModel("linf", 0.15), n=40, budget="standard")
    assert [check["passed"] for check in evaluation.result["checks"]] == [True] * 8
