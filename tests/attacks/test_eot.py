"""EOT: attacks that see the mean of several passes of a random model."""

import pytest
import torch
import zoo
from torch import Tensor, nn

from toughen.attacks import PGD, AutoAttack, Square
from toughen.attacks.base import PlannedAttack
from toughen.attacks.eot import EOT, Averaged, in_the_mean
from toughen.attacks.transfer import Transfer
from toughen.data import ImageSet
from toughen.errors import InputError, ToughenWarning
from toughen.evaluation import Evaluation, Shard, evaluate_model, prepare
from toughen.models.inference import classify, frozen
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.15)
SETTINGS = {"budget": "quick", "test_images": 40, "sample": "first", "batch_size": 20, "device": "cpu", "checks": False}


class Cycling(nn.Module):
    """The networks in turn: as random as a model can be whose passes are known."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.networks[(self.calls - 1) % len(self.networks)](images)


def linear(num_classes: int, seed: int) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
    nn.init.normal_(network[1].weight, generator=torch.Generator().manual_seed(seed))
    return network


def test_logarithm_of_the_mean_softmax(batch):
    networks = [linear(3, seed) for seed in range(4)]
    images = batch[0].clone().requires_grad_(True)
    averaged = Averaged(Cycling(*networks), 4)(images)
    mean = sum(network(images).softmax(1) for network in networks) / 4
    assert torch.allclose(averaged.exp(), mean, atol=1e-6)
    (gradient,) = torch.autograd.grad(averaged[:, 0].sum(), images)
    (expected,) = torch.autograd.grad(mean[:, 0].log().sum(), images)
    assert torch.allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_far_logits_stay_finite(batch):
    logits = Averaged(nn.Sequential(linear(3, 0), zoo.HugeTemperature(nn.Identity())), 3)(batch[0])
    assert torch.isfinite(logits).all()


def test_each_image_is_held_against_one_pass(batch):
    """Image j against pass j mod 3; clean or adversarial."""
    networks = [linear(10, seed) for seed in range(3)]
    classes, confidences = classify(Cycling(*networks), batch[0], passes=3)
    for place in range(12):
        probabilities = networks[place % 3](batch[0][place : place + 1]).softmax(1)[0]
        assert int(classes[place]) == int(probabilities.argmax())
        assert confidences[place].item() == pytest.approx(probabilities.max().item(), rel=1e-5)


def expected_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    torch.manual_seed(0)
    with torch.no_grad():
        return float(torch.stack([model(images).argmax(1) == labels for _ in range(30)]).float().mean())


@pytest.fixture(scope="module")
def defended(network: nn.Module) -> nn.Module:
    return zoo.RandomResize(network, larger=2).eval()


def test_it_breaks_what_single_draws_do_not(defended: nn.Module, images: ImageSet):
    """In expectation over 30 new passes: 81 % when clean, 20 % after PGD-20 on single draws, 13 % on means of five."""
    pictures, labels = images.subset(torch.arange(100))
    single = PGD(steps=20, loss="margin")
    accuracy = {}
    with torch.random.fork_rng(devices=[]), frozen(defended, "cpu") as judged:
        for attack in (single, EOT(single, 5)):
            torch.manual_seed(0)
            generator = torch.Generator().manual_seed(0)
            found = attack.run(judged, pictures, labels, THREAT, generator).adversarial
            assert bool(THREAT.contains(found, pictures).all())
            accuracy[type(attack)] = expected_accuracy(judged, found, labels)
        clean = expected_accuracy(judged, pictures, labels)
    assert accuracy[EOT] < accuracy[PGD] - 0.03 < clean - 0.5


def evaluated(model: nn.Module, images: ImageSet, **settings) -> Evaluation:
    return evaluate_model(model, images, THREAT, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def single(defended: nn.Module, images: ImageSet) -> Evaluation:
    with pytest.warns(ToughenWarning, match="the model is random"):
        return evaluated(defended, images)


@pytest.fixture(scope="module")
def eot(defended: nn.Module, images: ImageSet) -> Evaluation:
    return evaluated(defended, images, eot=5)


def test_an_evaluation_with_it_is_no_better_for_the_model(single: Evaluation, eot: Evaluation):
    assert eot.result["robust_accuracy"]["held"] <= single.result["robust_accuracy"]["held"]
    assert eot.result["figures"]["clean"]["held"] > 20


def test_the_protocol_says_so(single: Evaluation, eot: Evaluation):
    assert (single.result["eot"], eot.result["eot"]) == (1, 5)
    assert [attack.get("eot") for attack in eot.result["attacks"].values()] == [5, 5]
    assert single.result["key"] != eot.result["key"]
    severities = [
        [finding["severity"] for finding in found.result["preflight"] if finding["name"] == "randomness"]
        for found in (single, eot)
    ]
    assert severities == [["doubt"], ["note"]]
    assert any("the model is random" in warning for warning in single.result["warnings"])
    assert eot.result["warnings"] == []


@pytest.mark.parametrize("passes", [1, 2])
def test_a_random_model_is_evaluated_reproducibly(defended: nn.Module, images: ImageSet, passes: int):
    """Rows of the second batch alone, after other random numbers were drawn, are those of the whole."""

    def run(**settings) -> Evaluation:
        if passes > 1:
            return evaluated(defended, images, eot=passes, test_images=16, batch_size=8, **settings)
        with pytest.warns(ToughenWarning, match="random"):
            return evaluated(defended, images, test_images=16, batch_size=8, **settings)

    whole = run()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    part = run(shard=Shard(2, 2))
    assert part.verdicts.table.to_pylist() == whole.verdicts.table.slice(8).to_pylist()
    assert torch.equal(torch.get_rng_state(), state)


def test_autoattack_in_the_mean(defended: nn.Module, batch, short_autoattack):
    """It attacks the mean; the images are in the ball, and the verdict is left to one pass."""
    images, labels = batch
    attack = EOT(AutoAttack(10), 2)
    with frozen(defended, "cpu") as judged:
        attempt = attack.run(judged, images, labels, THREAT, torch.Generator().manual_seed(0))
    assert attempt.held is None
    assert any(name not in (None, "clean") for name in attempt.broken_by)
    assert bool(THREAT.contains(attempt.adversarial, images).all())
    assert attack.settings(THREAT)["standard"] is False


def test_attacks_that_see_the_mean(network: nn.Module):
    gradient, transfer = PlannedAttack("pgd", PGD()), PlannedAttack("other", Transfer(network, "other"))
    made = in_the_mean((gradient, PlannedAttack("square", Square(), True), transfer), 3)
    assert [type(planned.attack) for planned in made] == [EOT, EOT, Transfer]
    assert made[0].settings(THREAT) == {**gradient.settings(THREAT), "eot": 3}
    assert (made[1].name, made[1].attack.composite, made[1].survivors_only) == ("square", False, True)
    assert in_the_mean((gradient, transfer), 1) == (gradient, transfer)


def test_the_search_is_on_the_model_itself(defended: nn.Module, images: ImageSet):
    result = evaluated(defended, images, eot=2, precision="auto", test_images=10).result
    assert (result["precision"], result["attacks"]["fgsm"]["eot"]) == ("fp32", 2)
    with pytest.raises(InputError, match="precision: with eot 2 .* expected fp32 or auto, got bf16"):
        evaluated(defended, images, eot=2, precision="bf16", test_images=10)


def test_a_number_of_passes_that_is_none(network: nn.Module, images: ImageSet):
    with pytest.raises(InputError, match="eot: expected at least 1, got 0"):
        prepare(network, images, THREAT, eot=0, device="cpu")
