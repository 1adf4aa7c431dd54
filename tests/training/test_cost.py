"""What a run says of its cost, against closed forms and whole runs."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from toughen import train
from toughen.attacks import PGD
from toughen.methods import PGDAT, TRADES, Method, Standard
from toughen.models import SmallCNN
from toughen.training import AWP, GrowingSize, GrowingSteps
from toughen.training.cost import COLUMNS, Meter, in_words
from toughen.training.log import read_rows

CPU = torch.device("cpu")
QUICK = {"epochs": 2, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256, "val_images": 157}


class Linear(nn.Sequential):
    """Two layers: a forward pass on one image takes 2 (64 * 12 + 12 * 10) FLOPs, and so does each gradient."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64 * in_channels, 12), nn.Tanh(), nn.Linear(12, num_classes))


FORWARD = 2 * (64 * 12 + 12 * 10)
TO_IMAGES = FORWARD  # a gradient with respect to each layer's input
TO_WEIGHTS = 2 * FORWARD - 2 * 64 * 12  # with respect to every weight, and to the second layer's input


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        (Standard(), {}, FORWARD + TO_WEIGHTS),
        (PGDAT(attack=PGD(steps=3)), {}, 3 * (FORWARD + TO_IMAGES) + FORWARD + TO_WEIGHTS),
        (PGDAT(attack=PGD(steps=3)), {"fast": False}, 3 * (FORWARD + TO_IMAGES) + FORWARD + TO_WEIGHTS),
        (Standard(), {"awp": AWP(start=1)}, 2 * (FORWARD + TO_WEIGHTS)),
    ],
    ids=["standard", "pgd", "pgd plain", "awp"],
)
def test_a_run_counts_every_pass_of_a_step(tmp_path: Path, method: Method, options: dict, expected: int) -> None:
    train(model=Linear, method=method, out=str(tmp_path / "a"), **QUICK, **options)
    for row in read_rows(tmp_path / "a/metrics.csv"):
        assert row["flops_per_second"] / row["images_per_second"] == pytest.approx(expected)


def test_steps_of_another_kind_are_counted_again(tmp_path: Path) -> None:
    method = PGDAT(attack=PGD(steps=4))
    ramp = {"attack_steps": GrowingSteps(first=1, until=1.0), "awp": AWP(start=2)}
    train(model=Linear, method=method, out=str(tmp_path / "a"), **{**QUICK, "epochs": 3}, **ramp)
    rows = read_rows(tmp_path / "a/metrics.csv")
    step, update = FORWARD + TO_IMAGES, FORWARD + TO_WEIGHTS
    found = [row["flops_per_second"] / row["images_per_second"] for row in rows]
    expected = [step + update, 2 * step + 2 * update, 3 * step + 2 * update]
    assert found == pytest.approx(expected)
    images = 1437 - QUICK["val_images"]  # scikit-learn's digits: 1,797, of which 360 are for testing
    assert [row["flops"] for row in rows] == pytest.approx([images * sum(expected[:n]) for n in (1, 2, 3)])


def test_smaller_images_cost_less(tmp_path: Path) -> None:
    size = GrowingSize(first=0.5, until=1.0, stages=2)
    method = TRADES(attack=PGD(steps=1))
    train(model=partial(SmallCNN, width=4), method=method, image_size=size, out=str(tmp_path / "a"), **QUICK)
    half, most = (row["flops_per_second"] / row["images_per_second"] for row in read_rows(tmp_path / "a/metrics.csv"))
    assert half / most == pytest.approx((4 * 4) / (6 * 6), rel=0.1)


def test_every_epoch_has_the_columns_and_hours_add_up(tmp_path: Path) -> None:
    train(model=Linear, method=Standard(), out=str(tmp_path / "a"), **QUICK)
    with (tmp_path / "a/metrics.csv").open() as file:
        assert set(COLUMNS) <= set(next(csv.reader(file)))
    first, second = read_rows(tmp_path / "a/metrics.csv")
    assert 0 < first["share_of_peak"] < 1
    assert second["device_hours"] >= first["device_hours"] + second["seconds"] / 3600
    assert "device-hours" in in_words([first, second])


def test_device_hours_of_several_processes_and_across_a_pause() -> None:
    meter = Meter(CPU, torch.float32, processes=4)
    meter.load_state_dict({"flops": {}, "device_seconds": 7200.0})
    assert meter.hours == pytest.approx(2, abs=0.01)
    again = Meter(CPU, torch.float32, processes=2)
    again.load_state_dict(meter.state_dict())
    assert again.hours == pytest.approx(2, abs=0.01)


def test_flops_of_several_processes_and_across_a_pause() -> None:
    meter = Meter(CPU, torch.float32, processes=4)
    meter.flops = {"a": 10.0}
    meter.stepped("a", images=8)
    again = Meter(CPU, torch.float32, processes=2)
    again.load_state_dict(meter.state_dict())
    assert again.stepped("a", images=3) == 2 * 3 * 10
    assert again.spent == 4 * 8 * 10 + 2 * 3 * 10
    older = {name: value for name, value in meter.state_dict().items() if name != "spent"}
    again.load_state_dict(older)
    again.stepped("a", images=3)
    assert "FLOPs" not in in_words([dict.fromkeys(COLUMNS, 1.0) | {"flops": again.spent}])


def test_share_of_the_peak_is_of_all_processes() -> None:
    one, four = (Meter(CPU, torch.float32, processes) for processes in (1, 4))
    for meter in (one, four):
        meter.peak = 1000.0
    assert one.figures(500.0, images=50, seconds=1.0)["share_of_peak"] == pytest.approx(0.5)
    assert four.figures(500.0, images=50, seconds=1.0)["share_of_peak"] == pytest.approx(0.125)


def test_rows_without_a_cost_are_left_out_of_the_words() -> None:
    row = dict(zip(COLUMNS, (900.0, 2.0, 3.1e10, 0.2, 4e8, 0.5, 7e13), strict=True))
    assert in_words([{"epoch": 1.0}, row]) == in_words([row])
    assert in_words([{"epoch": 1.0}]) == in_words([]) == "not recorded"
