from pathlib import Path

import pytest
import torch

from toughen.methods import Term
from toughen.training.log import EpochSums, append_row, read_rows


def test_means_weigh_every_image_alike() -> None:
    sums = EpochSums()
    sums.add({"ce": Term(torch.tensor([1.0, 2.0, 3.0]), 5.0)}, images=3, step=1)
    sums.add({"ce": Term(torch.tensor([6.0]), 5.0)}, images=1, step=2)
    assert sums.means() == {"loss/ce": pytest.approx(3.0)}


def test_the_first_bad_step_and_its_term_are_named() -> None:
    sums = EpochSums()
    for step, value in enumerate([1.0, float("nan"), float("inf"), 1.0], start=1):
        sums.add({"ce": Term(torch.tensor([1.0])), "kl": Term(torch.tensor([value]))}, images=1, step=step)
    assert sums.bad_term() == "loss term 'kl' became NaN or infinite at step 2"


def test_state_round_trip() -> None:
    sums, other = EpochSums(), EpochSums()
    sums.add({"ce": Term(torch.tensor([2.0]))}, images=1, step=1)
    other.load_state_dict(sums.state_dict(), torch.device("cpu"))
    assert other.means() == sums.means()


def test_rows_of_a_killed_run_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for epoch, value in [(1, 0.5), (2, 0.6), (3, 0.7), (2, 0.65)]:
        append_row(path, {"epoch": epoch, "val_pgd": value})
    assert read_rows(path) == [{"epoch": 1, "val_pgd": 0.5}, {"epoch": 2, "val_pgd": 0.65}]
    assert read_rows(tmp_path / "none.csv") == []
