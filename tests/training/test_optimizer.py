import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from toughen.errors import InputError
from toughen.training import SGD, Constant, Cosine, MultiStep, OneCycle


def test_schedules_against_torch_where_torch_has_them() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    torch_steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5], gamma=0.1)
    torch_cosine = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(model.parameters(), lr=1.0), T_max=10)
    for epoch in range(10):
        assert MultiStep([3, 5]).factor(epoch, 10) == pytest.approx(torch_steps.get_last_lr()[0])
        assert Cosine().factor(epoch, 10) == pytest.approx(torch_cosine.get_last_lr()[0])
        optimizer.step()
        torch_steps.step()
        torch_cosine.optimizer.step()
        torch_cosine.step()


def test_cosine_warms_up_linearly_and_ends_at_zero() -> None:
    schedule = Cosine(warmup=2)
    assert [schedule.factor(epoch, 12) for epoch in (0, 1, 2)] == [0, 0.5, 1]
    assert schedule.factor(7, 12) == pytest.approx(0.5)
    assert schedule.factor(12, 12) == pytest.approx(0, abs=1e-12)


def test_one_cycle_is_continuous_and_constant_is_one() -> None:
    values = [OneCycle(peak=0.3).factor(epoch / 100, 1) for epoch in range(101)]
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.04
    assert values[30] == pytest.approx(1)
    assert Constant().factor(5, 10) == 1


def test_multi_step_with_a_careful_first_epoch_is_the_published_loop() -> None:
    schedule = MultiStep([75, 90, 100], first_epoch=0.2)
    for number in range(1, 121):  # D2R's code counts epochs from 1
        lr = 0.1
        if number == 1:
            lr = 0.02
        if number >= 76:
            lr = 0.1 * 0.1
        if number >= 91:
            lr = 0.1 * 0.01
        if number >= 101:
            lr = 0.1 * 0.001
        for inside in (0.0, 0.5, 0.99):
            assert 0.1 * schedule.factor(number - 1 + inside, 120) == pytest.approx(lr)


@pytest.mark.parametrize("factor", [0, -0.2, math.nan])
def test_bad_first_epoch(factor: float) -> None:
    with pytest.raises(InputError, match=rf"schedule.first_epoch.*got {factor}"):
        MultiStep([3], first_epoch=factor)


def test_decay_exempts_biases_and_normalisation_only_when_asked() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    every = SGD(weight_decay=0.1).build([model])
    assert [group["weight_decay"] for group in every.param_groups] == [0.1]
    assert len(every.param_groups[0]["params"]) == 6
    exempt = SGD(weight_decay=0.1, decay_all=False).build([model])
    decayed, free = exempt.param_groups
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert free["weight_decay"] == 0
    assert len(free["params"]) == 4


@pytest.mark.parametrize("settings", [{"lr": -1}, {"momentum": -0.1}, {"weight_decay": math.nan}])
def test_bad_settings(settings: dict) -> None:
    with pytest.raises(InputError, match=f"optimizer.{next(iter(settings))}"):
        SGD(**settings)


def test_bad_peak() -> None:
    with pytest.raises(InputError, match=r"schedule.peak.*got 1"):
        OneCycle(peak=1)


def test_nothing_to_train_is_said() -> None:
    with pytest.raises(InputError, match="the network has no parameters that need a gradient"):
        SGD().build([nn.Linear(2, 2).requires_grad_(False)])
