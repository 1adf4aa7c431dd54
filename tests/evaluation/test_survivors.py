"""The expensive attacks of the thorough budget see only what is left, and their columns mean what they say."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from toughen.attacks import FGSM, PGD, Square
from toughen.attacks.base import PlannedAttack
from toughen.batch import Batch
from toughen.evaluation import Evaluation, attacks_of, evaluate_model
from toughen.evaluation.verify import judge, judge_clean
from toughen.models.inference import frozen
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.08)
CPU = torch.device("cpu")
ATTACKS: tuple[PlannedAttack, ...] = (
    PlannedAttack("fgsm", FGSM(step_size=0.03)),
    PlannedAttack("weak", PGD(steps=2, step_size=0.02), survivors_only=True),
    PlannedAttack("independent", PGD(steps=1, step_size=0.001)),
    PlannedAttack("strong", PGD(steps=10, restarts=2, keep_best=True, loss="margin"), survivors_only=True),
    PlannedAttack("square", Square(queries=50), survivors_only=True),
)


@pytest.fixture(scope="module")
def evaluation(network, images) -> Iterator[Evaluation]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toughen.evaluation.plan.attacks_of", lambda budget, num_classes, norm: ATTACKS)
        settings = {"test_images": 60, "sample": "first", "batch_size": 40, "device": "cpu", "checks": False}
        yield evaluate_model(network, images, THREAT, **settings)


def test_held_means_under_this_and_all_before(evaluation: Evaluation):
    held = {name: evaluation.verdicts.held(name) for name in ("clean", *evaluation.verdicts.attacks)}
    assert not (held["weak"] & ~held["fgsm"]).any()
    assert not (held["strong"] & ~(held["weak"] & held["independent"])).any()
    assert not (held["square"] & ~held["strong"]).any()
    assert np.array_equal(evaluation.verdicts.robust(), held["square"])
    # An attack that sees all images keeps a meaning of its own: some that others broke hold under it.
    assert (held["independent"] & ~held["weak"]).any()
    assert held["fgsm"].sum() > held["strong"].sum() > 0


def test_survivors_are_attacked_as_a_batch_of_their_own(network, images, evaluation: Evaluation):
    """The attack on survivors does what a call with just their images does."""
    table = evaluation.verdicts.table.slice(0, 40)
    columns = [table[name].to_numpy() for name in ("clean", "fgsm", "weak", "independent")]
    left = torch.from_numpy(np.logical_and.reduce(columns)).nonzero().squeeze(1)
    pictures, labels = images.subset(left)
    with frozen(network, "cpu") as judged, torch.no_grad():
        attack = PGD(steps=10, restarts=2, keep_best=True, loss="margin")
        found = attack(judged, pictures, labels, THREAT, torch.Generator().manual_seed(0))
        held = (judged(found).argmax(1) == labels).tolist()
    assert [table["strong"][int(row)].as_py() for row in left] == held
    assert not all(held)


def test_what_was_not_attacked_is_null(evaluation: Evaluation):
    for row in evaluation.verdicts.table.to_pylist():
        left = row["clean"] and row["fgsm"]
        assert (row["weak_prediction"] is not None) == left
        assert (row["weak_confidence"] is not None) == left
        if row["clean"] and not left:
            assert row["weak_norm"] is None
        if not row["clean"]:
            assert row["weak_norm"] == 0.0
        if left and not row["weak"]:
            assert 0 < row["weak_norm"] <= 0.08 + 1e-6
        assert row["independent_prediction"] is not None


def test_settings_say_so(evaluation: Evaluation):
    said = {name: settings.get("attacked") for name, settings in evaluation.result["attacks"].items()}
    what = "what the attacks before it left"
    assert said == {"fgsm": None, "weak": what, "independent": None, "strong": what, "square": what}


@pytest.mark.nightly
@pytest.mark.parametrize(("num_classes", "eps"), [(2, 0.23), (10, 0.05)])
def test_the_thorough_budget(few_classes, num_classes: int, eps: float):
    """All of it on a few digits: never weaker than standard, and every broken image really is."""
    network, pictures, labels = few_classes(num_classes)
    threat = ThreatModel("linf", eps)
    with frozen(network, "cpu") as judged:
        clean = judge_clean(judged, Batch(pictures, labels, torch.arange(len(labels))), CPU)
        survivors = clean.right
        for attack in attacks_of("thorough", num_classes, "linf"):
            outcome = judge(judged, clean, attack, threat, seed=0, survivors=survivors)
            if attack.survivors_only:
                assert not (outcome.held & ~survivors).any()
            survivors = survivors & outcome.held
            with torch.no_grad():
                right = judged(outcome.adversarial).argmax(1) == labels
            assert not (outcome.attacked & right & ~outcome.held).any()
    assert 0 < survivors.sum() < len(labels)
