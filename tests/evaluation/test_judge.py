"""One batch under attacks whose results are known beforehand."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.evaluation.budgets import Attempt
from toughen.evaluation.judge import Judgement, judge
from toughen.evaluation.verdicts import verdict_schema
from toughen.threat import ThreatModel

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 1, 1])


class Threshold(nn.Module):
    """Class 1 where the first pixel exceeds one half."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        return torch.stack([torch.full_like(first, 0.5), first], dim=1)


@dataclass(frozen=True)
class Shift:
    """Adds a constant, and claims what it is told to claim."""

    by: float
    held: tuple[bool, ...] | None = None
    broken_by: tuple[str | None, ...] | None = None
    name: str = "shift"

    @property
    def composite(self) -> bool:
        return self.broken_by is not None

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        return {"by": self.by}

    def run(self, model, images: Tensor, labels: Tensor, threat: ThreatModel, generator) -> Attempt:
        held = None if self.held is None else torch.tensor(self.held)
        return Attempt(images + self.by, held, None if self.broken_by is None else list(self.broken_by))


def judged(attack: Shift, eps: float = 0.2) -> Judgement:
    # Labels 0, 0, 1, 1: held even when shifted, broken by a shift of 0.2, wrong when clean, held.
    images = torch.tensor([0.1, 0.4, 0.3, 0.6]).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
    batch = Batch(images, LABELS, torch.tensor([7, 5, 3, 1]))
    return judge(Threshold(), batch, ThreatModel("l2", eps), [attack], seed=0, device=CPU)


def test_verdicts_of_a_known_attack():
    judgement = judged(Shift(0.15), eps=0.3)
    outcome = judgement.outcomes["shift"]
    assert judgement.predictions.tolist() == [0, 0, 0, 1]
    assert judgement.clean.tolist() == [True, True, False, True]
    assert outcome.held.tolist() == [True, False, False, True]
    assert outcome.predictions.tolist() == [0, 1, 0, 1]
    # Four pixels moved by 0.15 are 0.3 in l2; the image that was wrong already is left alone.
    assert outcome.norm.tolist() == pytest.approx([0.3, 0.3, 0.0, 0.3])
    assert torch.equal(outcome.adversarial[2], judgement.batch.images[2])


def test_rows_say_so():
    rows = judged(Shift(0.15), eps=0.3).rows(verdict_schema(["shift"])).to_pylist()
    assert [row["index"] for row in rows] == [7, 5, 3, 1]
    assert [row["clean_prediction"] for row in rows] == [0, 0, 0, 1]
    assert [row["shift_norm"] for row in rows] == [None, pytest.approx(0.3), 0.0, None]


@pytest.mark.parametrize(("by", "eps"), [(0.15, 0.29), (-0.2, 0.5), (float("nan"), 0.5)])
def test_images_outside_the_threat_model_are_refused(by: float, eps: float):
    with pytest.raises(InputError, match=r"shift: .* leave the threat model l2"):
        judged(Shift(by), eps)


def test_an_attacks_own_verdict_counts_against_the_model():
    """A random model may look right again: the image stays broken, and the result says so."""
    attack = Shift(0.15, held=(False, False, False, True), broken_by=("square", "apgd-ce", "clean", None))
    outcome = judged(attack, eps=0.3).outcomes["shift"]
    assert outcome.held.tolist() == [False, False, False, True]
    assert outcome.broken_by == ["square", "apgd-ce", "clean", None]
    assert any("not deterministic" in warning for warning in outcome.warnings)


def test_a_second_look_counts_against_the_model_too():
    attack = Shift(0.15, held=(True, True, True, True), broken_by=(None, None, None, None))
    outcome = judged(attack, eps=0.3).outcomes["shift"]
    assert outcome.held.tolist() == [True, False, False, True]
    assert outcome.broken_by == [None, "recheck", "clean", None]


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
    batch = Batch(images, labels, torch.arange(2))
    judgement = judge(Alternating(), batch, ThreatModel("l2", 0.5), [Shift(0.1)], seed=0, device=CPU)
    assert judgement.clean.tolist() == [False, True]
    assert judgement.outcomes["shift"].held.tolist() == [False, False]
