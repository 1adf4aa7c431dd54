from pathlib import Path

import pytest
import torch

from toughen.errors import RunError
from toughen.methods import Term
from toughen.training.log import EpochSums, read_rows, write_rows


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


def test_rows_come_back_and_a_changed_one_is_named(tmp_path: Path) -> None:
    path, rows = tmp_path / "metrics.csv", [{"epoch": 1, "val_pgd": 0.5}, {"epoch": 2, "val_pgd": 0.65}]
    write_rows(path, rows)
    assert read_rows(path) == rows
    path.write_text(path.read_text().replace("0.65", "0.75"))
    with pytest.raises(RunError, match=r"metrics.csv: it is damaged .*toughen train --resume"):
        read_rows(path)
    assert read_rows(tmp_path / "none.csv") == []
