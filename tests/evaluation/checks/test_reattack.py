"""What is attacked again, against closed forms; and how its findings come into a result."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.attacks import PGD
from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import InputError
from toughen.evaluation import Evaluation, Shard, evaluate_model, find_parts, merge_parts, prepare
from toughen.evaluation.checks.reattack import SelfChecks
from toughen.evaluation.runner import analyse
from toughen.run import RunFolder
from toughen.threat import Norm, ThreatModel

SETTINGS = {"budget": "quick", "test_images": 30, "sample": "first", "batch_size": 10, "seed": 3, "device": "cpu"}


def again(
    model: nn.Module, images: ImageSet, threat: ThreatModel, checks: SelfChecks | None = None, **settings
) -> dict:
    task = prepare(model, images, threat, **{**SETTINGS, **settings})
    return analyse(task, [checks or SelfChecks()])["self_checks"]


def as_array(found: dict, name: str) -> np.ndarray:
    return np.array([digit == "1" for digit in found["held"][name]])


@pytest.fixture(scope="module")
def linear() -> tuple[nn.Module, ImageSet, Tensor]:
    """Two logits +-(w x - c), gray images near 0.5 of which all but the first two are right, and w."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(16, generator=generator)
    pixels = torch.randint(90, 165, (30, 1, 4, 4), generator=generator).byte()
    values = (pixels.flatten(1) / 255) @ weight
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([weight, -weight]))
        model[1].bias.copy_(torch.stack([-values.median(), values.median()]))
        labels = model(pixels / 255).argmax(1)
    labels[:2] = 1 - labels[:2]
    return model, ImageSet(Decoded(pixels), labels, ("up", "down"), "gray"), weight


# Twenty steps of l1 come within 40 % of the optimum, which changes one pixel alone.
@pytest.mark.parametrize(
    ("norm", "eps", "dual", "slack"), [("linf", 0.03, 1, 0.02), ("l2", 0.12, 2, 0.02), ("l1", 0.2, torch.inf, 0.4)]
)
@pytest.mark.filterwarnings("ignore:eps :toughen.errors.ToughenWarning")
def test_on_a_linear_model_every_attack_reaches_the_optimum(linear, norm: Norm, eps: float, dual: float, slack: float):
    """An image at distance d from the boundary, by Hoelder |w x - c| / ||w||_dual, holds where d > eps."""
    model, images, weight = linear
    found = again(model, images, ThreatModel(norm, eps))
    pictures, labels = images.subset(torch.arange(30))
    with torch.no_grad():
        logits = model(pictures)
    distance = (logits[:, 0] / torch.linalg.vector_norm(weight, ord=dual)).abs().numpy()
    right = (logits.argmax(1) == labels).numpy()
    assert right.sum() == 28
    for name, radius in {"eps": eps, "double_eps": 2 * eps, "more_steps": eps}.items():
        clear = (distance < (1 - slack) * radius) | (distance > 1.01 * radius)
        assert clear.sum() > 15
        assert np.array_equal(as_array(found, name)[clear], (right & (distance > radius))[clear])
    assert np.array_equal(as_array(found, "clean"), right)
    assert not as_array(found, "unbounded_ce").any() and not as_array(found, "unbounded_margin").any()
    # The optimum is the worst point: noise does no more, and what noise breaks lies near the boundary.
    noise = as_array(found, "noise")
    assert not (as_array(found, "eps") & ~noise & (distance > 1.01 * eps)).any()
    assert noise.sum() > as_array(found, "eps").sum()


class OnTheGrid(nn.Module):
    """Right exactly on 8-bit images, from which all noise leads away; no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        off = ((255 * images).round() - 255 * images).abs().flatten(1).amax(1) > 1e-3
        logits = self.network(images.detach())
        return torch.where(off[:, None], -logits, logits) + 0 * images.sum()


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_noise_breaks_and_a_blind_attack_without_a_bound_does_not(network, images):
    found = again(OnTheGrid(network), images, ThreatModel("linf", 0.1))
    clean = found["held"]["clean"]
    assert found["held"]["noise"] == "0" * 30
    assert found["held"]["unbounded_ce"] == found["held"]["unbounded_margin"] == clean
    assert clean.count("1") > 25


def test_loss_and_steps_are_the_evaluations(network, images, short_autoattack):
    threat = ThreatModel("linf", 0.08)
    quick, standard = (again(network, images, threat, budget=budget, test_images=4) for budget in ("quick", "standard"))
    assert (quick["loss"], quick["steps"], quick["more_steps"]) == ("margin", 20, 80)
    assert (standard["loss"], standard["steps"], standard["more_steps"]) == ("ce", 20, 80)
    assert (quick["eps"], quick["double_eps"]) == (0.08, 0.16)


def test_the_attacks_are_pgd_with_the_batchs_seed(network, images):
    """The first batch's `eps`, after the noise of the same generator."""
    threat = ThreatModel("linf", 0.08)
    found = again(network, images, threat, SelfChecks(draws=3))
    pictures, labels = images.subset(torch.arange(10))
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        threat.random_start(pictures, generator)
    with torch.no_grad():
        right = network(pictures).argmax(1) == labels
    attacked = PGD(20, keep_best=True, loss="margin")(network, pictures[right], labels[right], threat, generator)
    with torch.no_grad():
        right[right.clone()] = network(attacked).argmax(1) == labels[right]
    assert as_array(found, "eps")[:10].tolist() == right.tolist()


def test_images_are_some_of_the_evaluations(network, images):
    def of(count: int) -> dict:
        return again(network, images, ThreatModel("linf", 0.08), SelfChecks(count, 2, 20), sample="random")

    whole, few = of(30), of(10)
    assert len(few["indices"]) == 10
    assert [place for place in whole["indices"] if place in few["indices"]] == few["indices"]
    assert few["settings"] == {"images": 10, "draws": 2, "queries": 20}
    assert of(30) == whole


@pytest.mark.parametrize("settings", [{"images": 0}, {"draws": 0}, {"queries": 0}])
def test_settings_out_of_range(settings: dict):
    with pytest.raises(InputError, match="self_checks: expected at least 1"):
        SelfChecks(**settings)


def test_without_them_what_needs_no_second_attack_is_still_checked(network, images):
    threat = ThreatModel("linf", 0.08)
    result = evaluate_model(network, images, threat, checks=False, **SETTINGS).result
    assert result["analyses"] == {}
    judged = [check["name"] for check in result["checks"] if check["passed"] is not None]
    assert judged == ["iterative_beats_single_step", "fresh_copy_agrees"]
    assert result["masking_suspected"] == []


def test_time_that_is_up_is_said(network, images, monkeypatch):
    """The attacks were done, the checks were not: null, and a warning."""

    class Late(SelfChecks):
        def run(self, scene):
            from toughen.models.deadline import TimeUp

            raise TimeUp

    monkeypatch.setattr("toughen.evaluation.plan.SelfChecks", Late)
    result = evaluate_model(network, images, ThreatModel("linf", 0.08), time_limit=600, **SETTINGS).result
    assert result["complete"]
    assert any(warning.startswith("not run (time limit of 600 s): ") for warning in result["warnings"])
    without = {"iterative_beats_single_step", "fresh_copy_agrees"}
    assert {check["passed"] for check in result["checks"] if check["name"] not in without} == {None}


def test_shards_and_the_whole_have_the_same_checks(tmp_path: Path, network, images, short_self_checks):
    threat = ThreatModel("linf", 0.08)
    whole: Evaluation = evaluate_model(network, images, threat, **SETTINGS)
    folder = RunFolder(tmp_path)
    for number in (3, 2, 1):
        evaluate_model(network, images, threat, shard=Shard(number, 3), folder=folder, **SETTINGS)
    merged = merge_parts(find_parts([folder]))
    assert merged.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    for key in ("checks", "masking_suspected", "analyses"):
        assert merged.result[key] == whole.result[key]
    assert all(check["passed"] for check in merged.result["checks"])
