"""Where a figure is doubted, attacks without gradients follow, and the lower figure is the result."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from torch import nn

from toughen import merge
from toughen.attacks import PGD
from toughen.attacks.base import FURTHER
from toughen.attacks.spsa import Estimated
from toughen.commands.evaluations.into_folder import finished, run_in
from toughen.data import ImageSet
from toughen.errors import ToughenWarning
from toughen.evaluation import Evaluation, EvaluationPlan, Processes, Requirement, Shard, Step, evaluate_model, prepare
from toughen.models.deadline import TimeUp
from toughen.run import RunFolder
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
@pytest.mark.parametrize("defence", [zoo.OtherGradient, zoo.NoisyBackward])
def test_the_lower_figure_is_reported(network, images: ImageSet, defence: type[nn.Module]):
    """The defences answer as the network does, so what PGD leaves of the network is the truth to come near to."""
    n = 40
    evaluation = evaluate_model(
        defence(network), images, THREAT, budget="quick", test_images=n, sample="first", device="cpu"
    )
    result, verdicts = evaluation.result, evaluation.verdicts
    pictures, labels = images.subset(torch.arange(n))
    attack = PGD(20, restarts=5, keep_best=True, loss="margin")
    shown = attack(network, pictures, labels, THREAT, torch.Generator().manual_seed(0))
    truth = float((network(shown).argmax(1) == labels).float().mean())
    misled, reported = result["figures"]["pgd20_margin"]["accuracy"], result["robust_accuracy"]["accuracy"]
    assert truth <= reported <= truth + 0.2 < misled
    assert result["further"] == list(FURTHER) == list(verdicts.attacks[2:])
    held = np.logical_and.reduce([verdicts.held(name) for name in ("clean", *verdicts.attacks)])
    assert reported == held.mean() == result["figures"][FURTHER[-1]]["accuracy"]
    assert "black_box_never_wins" in result["masking_suspected"]


def test_a_figure_that_is_not_doubted_stays(network, images: ImageSet):
    result = evaluate_model(network, images, THREAT, budget="quick", test_images=20, device="cpu").result
    assert "further" not in result
    assert list(result["figures"]) == ["clean", "fgsm", "pgd20_margin"]


def test_an_estimate_is_the_gradient_on_average(batch):
    """Of a linear network, whose gradient is its weights."""
    images = batch[0][:1].double() * 0.5 + 0.25
    layer = nn.Linear(64, 1, dtype=torch.float64).requires_grad_(False)
    estimated = Estimated(nn.Sequential(nn.Flatten(), layer), directions=4_000, step=0.01)
    x = images.requires_grad_()
    (gradient,) = torch.autograd.grad(estimated(x).sum(), x)
    exact = layer.weight.view_as(gradient)
    # A component's variance is the square of all the others, over the number of directions.
    assert float((gradient - exact).norm() / exact.norm()) < 1.5 * (63 / 4_000) ** 0.5


def with_settings(plan: EvaluationPlan, **changes: Any) -> EvaluationPlan:
    return replace(plan, settings=plan.settings.changed(**changes))


@pytest.fixture(scope="module")
def doubted(short_further: None, network, images: ImageSet) -> EvaluationPlan:
    """A noisy backward pass, of which the preflight knows."""
    settings = {"budget": "quick", "test_images": 8, "sample": "first", "batch_size": 4, "device": "cpu"}
    with pytest.warns(ToughenWarning, match="the gradient is not the model's own"):
        return prepare(zoo.NoisyBackward(network), images, THREAT, **settings)


@pytest.fixture(scope="module")
def passed(doubted: EvaluationPlan) -> EvaluationPlan:
    """The same without what the preflight found: only the whole evaluation shows the doubt."""
    return replace(doubted, spec=replace(doubted.spec, findings=()))


@pytest.fixture(scope="module")
def whole(passed: EvaluationPlan, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """What one process gives without a stop."""
    evaluation = run_in(RunFolder(tmp_path_factory.mktemp("whole")), passed, None)
    assert evaluation.result["complete"]
    misled, reported = evaluation.result["figures"]["pgd20_margin"], evaluation.result["robust_accuracy"]
    assert reported["held"] + 2 <= misled["held"]
    return evaluation


def refused(evaluation: Evaluation) -> bool:
    """Whether a requirement that any of these figures meets is not met, for the attacks that are missing."""
    outcome = Requirement.parse("robust < 1", []).judge({**evaluation.result, "robust_accuracy": {"held": 1, "n": 100}})
    return not outcome.met and "further_square, further_spsa did not run" in outcome.reason


@pytest.mark.parametrize("late", ["self_checks", "further_square"])
def test_a_time_limit_before_they_ran_is_not_the_end(
    doubted: EvaluationPlan, whole: Evaluation, tmp_path: Path, late: str
):
    def stop(step: Step) -> None:
        if step.attack == late:
            raise TimeUp

    folder = RunFolder(tmp_path)
    cut = run_in(folder, with_settings(doubted, time_limit=3600), None, progress=stop)
    assert cut.result["complete"] is False
    assert any("not run: further_square, further_spsa" in warning for warning in cut.result["warnings"])
    assert refused(cut)
    assert finished(folder, doubted.spec) is None
    steps: list[str] = []
    # Asked for without the checks: what they found before stays found.
    full = run_in(
        folder,
        with_settings(doubted, checks=late == "self_checks"),
        None,
        progress=lambda step: steps.append(step.attack),
    )
    assert not {"fgsm", "pgd20_margin"} & set(steps), "what was there is used"
    assert full.result["complete"]
    assert full.result["figures"] == whole.result["figures"]
    assert full.result["masking_suspected"] == whole.result["masking_suspected"]


class Others(Processes):
    """The first of two processes; the second has done its part already."""

    def wait(self) -> None:
        pass


def test_shards_give_the_figure_of_one_process_or_none(passed: EvaluationPlan, whole: Evaluation, tmp_path: Path):
    folder = RunFolder(tmp_path)
    for number in (1, 2):
        run_in(folder, passed, None, shard=Shard(number, 2))
    # Merging has no model, so it cannot go on.
    merged = merge([str(tmp_path)], require="robust < 1")
    assert merged.result["complete"] is False
    assert refused(merged)
    assert not merged.requirement.met
    shared = run_in(folder, passed, None, processes=Others(0, 2))
    assert shared.result["complete"]
    assert shared.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    assert shared.result["robust_accuracy"] == whole.result["robust_accuracy"]


def test_they_follow_a_check_that_is_made_later(passed: EvaluationPlan, whole: Evaluation, tmp_path: Path):
    folder = RunFolder(tmp_path)
    before = run_in(folder, with_settings(passed, checks=False), None)
    assert before.result["masking_suspected"] == []
    assert before.result["complete"]
    added = run_in(folder, passed, before)
    assert added.result["complete"]
    assert added.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    for name in ("robust_accuracy", "figures", "further", "checks", "judged_again", "per_class"):
        assert added.result[name] == whole.result[name], name
    assert not (tmp_path / "verdicts").exists()
    assert run_in(folder, passed, finished(folder, passed.spec)).reused
