"""One batch under attacks whose results are known beforehand."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.attacks.base import Attack, AttackResult, PlannedAttack
from toughen.batch import Batch
from toughen.errors import InputError
from toughen.evaluation.records.batches import attack_table, clean_table
from toughen.evaluation.verify import Clean, Outcome, judge, judge_clean
from toughen.threat import ThreatModel

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 1, 1])


class Threshold(nn.Module):
    """Class 1 where the first pixel exceeds one half."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        return torch.stack([torch.full_like(first, 0.5), first], dim=1)


@dataclass(frozen=True)
class Shift(Attack):
    """Adds a constant, and claims what it is told to claim."""

    by: float
    held: tuple[bool, ...] | None = None
    broken_by: tuple[str | None, ...] | None = None

    @property
    def composite(self) -> bool:
        return self.broken_by is not None

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        return {"by": self.by}

    def run(self, model, images: Tensor, labels: Tensor, threat: ThreatModel, generator) -> AttackResult:
        held = None if self.held is None else torch.tensor(self.held)
        return AttackResult(images + self.by, held, None if self.broken_by is None else list(self.broken_by))


def batch() -> Batch:
    # Labels 0, 0, 1, 1: held even when shifted, broken by a shift of 0.15, wrong when clean, held.
    images = torch.tensor([0.1, 0.4, 0.3, 0.6]).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
    return Batch(images, LABELS, torch.tensor([7, 5, 3, 1]))


def judged(
    attack: Shift, eps: float = 0.2, survivors: Tensor | None = None, survivors_only: bool = False
) -> tuple[Clean, Outcome]:
    model = Threshold()
    clean = judge_clean(model, batch(), CPU)
    planned = PlannedAttack("shift", attack, survivors_only)
    return clean, judge(model, clean, planned, ThreatModel("l2", eps), seed=0, survivors=survivors)


def test_verdicts_of_a_known_attack():
    clean, outcome = judged(Shift(0.15), eps=0.3)
    assert clean.predictions.tolist() == [0, 0, 0, 1]
    assert clean.right.tolist() == [True, True, False, True]
    assert outcome.attacked.tolist() == [True] * 4
    assert outcome.held.tolist() == [True, False, False, True]
    assert outcome.predictions.tolist() == [0, 1, 0, 1]
    # Four pixels moved by 0.15 are 0.3 in l2; the image that was wrong already is left alone.
    assert outcome.norm.tolist() == pytest.approx([0.3, 0.3, 0.0, 0.3])
    assert torch.equal(outcome.adversarial[2], clean.batch.images[2])


def test_confidences_are_softmax_probabilities():
    clean, outcome = judged(Shift(0.15), eps=0.3)
    # Two logits z and 1/2: the probability of the larger one is sigmoid(|z - 1/2|).
    expected = torch.sigmoid((torch.tensor([0.1, 0.4, 0.3, 0.6]) - 0.5).abs())
    assert clean.confidences.tolist() == pytest.approx(expected.tolist())
    shifted = torch.sigmoid((torch.tensor([0.25, 0.55, 0.3, 0.75]) - 0.5).abs())
    assert outcome.confidences.tolist() == pytest.approx(shifted.tolist())


def test_rows_say_so():
    clean, outcome = judged(Shift(0.15), eps=0.3)
    indices = torch.tensor([7, 5, 3, 1])
    without = clean_table(clean, indices).to_pylist()
    assert [row["index"] for row in without] == [7, 5, 3, 1]
    assert [row["clean_prediction"] for row in without] == [0, 0, 0, 1]
    rows = attack_table("shift", outcome, clean, indices).to_pylist()
    assert [row["shift"] for row in rows] == [True, False, False, True]
    assert [row["shift_norm"] for row in rows] == [None, pytest.approx(0.3), 0.0, None]
    assert [row["shift_prediction"] for row in rows] == [0, 1, 0, 1]


def test_an_attack_on_survivors_sees_only_those():
    """The last image survived, the first did not; the others are broken or wrong: held means under all so far."""
    survivors = torch.tensor([False, False, False, True])
    clean, outcome = judged(Shift(0.15), eps=0.3, survivors=survivors, survivors_only=True)
    assert outcome.attacked.tolist() == [False, False, False, True]
    assert outcome.held.tolist() == [False, False, False, True]
    rows = attack_table("shift", outcome, clean, torch.arange(4)).to_pylist()
    # Null: another attack had broken it; 0.0: it was wrong when clean; null: it held.
    assert [row["shift_norm"] for row in rows] == [None, None, 0.0, None]
    assert [row["shift_prediction"] for row in rows] == [None, None, None, 1]
    assert [row["shift_confidence"] is None for row in rows] == [True, True, True, False]
    assert torch.equal(outcome.adversarial[:3], clean.batch.images[:3])


def test_an_attack_without_survivors_does_not_run():
    _, outcome = judged(Shift(5.0), survivors=torch.zeros(4, dtype=torch.bool), survivors_only=True)
    assert not outcome.held.any()
    assert not outcome.attacked.any()


@pytest.mark.parametrize(("by", "eps"), [(0.15, 0.29), (-0.2, 0.5), (float("nan"), 0.5)])
def test_images_outside_the_threat_model_are_refused(by: float, eps: float):
    with pytest.raises(InputError, match=r"shift: .* leave the threat model l2"):
        judged(Shift(by), eps)


def test_an_attacks_own_verdict_counts_against_the_model():
    """A random model may look right again: the image stays broken, and the result says so."""
    attack = Shift(0.15, held=(False, False, False, True), broken_by=("square", "apgd-ce", "clean", None))
    _, outcome = judged(attack, eps=0.3)
    assert outcome.held.tolist() == [False, False, False, True]
    assert outcome.broken_by == ["square", "apgd-ce", "clean", None]
    assert any("not deterministic" in warning for warning in outcome.warnings)


def test_a_second_look_counts_against_the_model_too():
    attack = Shift(0.15, held=(True, True, True, True), broken_by=(None, None, None, None))
    _, outcome = judged(attack, eps=0.3)
    assert outcome.held.tolist() == [True, False, False, True]
    assert outcome.broken_by == [None, "recheck", "clean", None]
    assert outcome.warnings == ()


class Alternating(nn.Module):
    """Says class 1 and class 0 in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.says = 0

    def forward(self, images: Tensor) -> Tensor:
        self.says = 1 - self.says
        return torch.tensor([1.0 - self.says, float(self.says)]).expand(len(images), 2)


def test_luck_under_attack_does_not_make_a_wrong_image_right():
    images, labels = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
    model = Alternating()
    clean = judge_clean(model, Batch(images, labels, torch.arange(2)), CPU)
    outcome = judge(model, clean, PlannedAttack("shift", Shift(0.1)), ThreatModel("l2", 0.5), seed=0)
    assert clean.right.tolist() == [False, True]
    assert outcome.held.tolist() == [False, False]
