import copy
import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from toughen.batch import Batch
from toughen.errors import InputError
from toughen.methods import Standard
from toughen.training import SGD, Constant, Cosine, MultiStep, OneCycle, Settings
from toughen.training.optimizer import parameter_groups, trial
from toughen.training.updates import Updates


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
    model, method = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2)), nn.Module()
    every = SGD(parameter_groups(model, method), weight_decay=0.1)
    assert [group["weight_decay"] for group in every.param_groups] == [0.1]
    assert len(every.param_groups[0]["params"]) == 6
    exempt = torch.optim.AdamW(parameter_groups(model, method, decay_all=False), weight_decay=0.1)
    decayed, free = exempt.param_groups
    assert decayed["weight_decay"] == 0.1
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert free["weight_decay"] == 0
    assert len(free["params"]) == 4


@pytest.mark.parametrize("settings", [{"lr": -1}, {"momentum": -0.1}, {"weight_decay": math.nan}])
def test_bad_settings(settings: dict) -> None:
    with pytest.raises(InputError, match=f"optimizer.{next(iter(settings))}"):
        SGD([nn.Parameter(torch.zeros(1))], **settings)


def test_bad_peak() -> None:
    with pytest.raises(InputError, match=r"schedule.peak.*got 1"):
        OneCycle(peak=1)


def test_nothing_to_train_is_said() -> None:
    with pytest.raises(InputError, match="the network has no parameters that need a gradient"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), nn.Module())


def test_layers_learn_as_timm_says() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=3, img_size=32)
    groups = parameter_groups(nn.Sequential(nn.Identity(), network), nn.Linear(2, 2), False, 0.5)
    ours = {p: (group["lr_scale"], group.get("weight_decay", 0.05)) for group in groups for p in group["params"]}
    theirs = timm.optim.param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.5)
    for group in theirs:
        for p in group["params"]:
            decay = 0.0 if p.ndim <= 1 else 0.05
            assert ours[p] == (group["lr_scale"], decay)
    assert len(ours) == sum(len(group["params"]) for group in theirs) + 2
    assert sorted({scale for scale, _ in ours.values()}) == [0.125, 0.25, 0.5, 1]


def test_the_body_learns_slower_than_the_head_and_what_the_method_adds() -> None:
    model, method = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2), nn.Linear(2, 3)),
        nn.Linear(2, 2),
    )
    model[0].weight.requires_grad_(False)
    rates = {p: group["lr_scale"] for group in parameter_groups(model, method, body_rate=0.1) for p in group["params"]}
    assert rates == {
        **dict.fromkeys((*method.parameters(), *model[3].parameters()), 1.0),
        **dict.fromkeys((model[0].bias, *model[1].parameters(), *model[2].parameters()), 0.1),
    }
    groups = parameter_groups(model, method, layer_decay=0.5, body_rate=0.1)
    both = {p: group["lr_scale"] for group in groups for p in group["params"]}
    assert (both[model[3].weight], both[model[2].weight], both[model[1].weight]) == (1.0, 0.05, 0.025)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "--optimizer LBFGS: .*closure"),
        (torch.optim.SparseAdam, "--optimizer SparseAdam: .*dense gradients"),
        (partial(torch.optim.AdamW, lr=-1.0), "--optimizer AdamW: Invalid learning rate: -1.0"),
        (partial(torch.optim.AdamW, lr=0.0), "--optimizer.lr: expected a learning rate above 0, got 0.0"),
        (partial(torch.optim.RMSprop, alpha=math.inf), "--optimizer.alpha: expected a finite number, got inf"),
        (partial(torch.optim.AdamW, beta=3), "--optimizer AdamW: .*unexpected keyword argument 'beta'"),
        (lambda params: None, "--optimizer <lambda>: 'NoneType' object"),
        (
            SGD([nn.Parameter(torch.zeros(1))]),
            r"expected a callable .*partial\(torch.optim.AdamW, .*got an object of SGD",
        ),
    ],
)
def test_an_optimiser_that_a_run_cannot_use(optimizer: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial(optimizer)


def test_the_schedule_scales_every_groups_own_rate() -> None:
    """Two groups of a function's own, against torch's scheduler."""

    def two(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam([{"params": params[:1], "lr": 0.1}, {"params": params[1:], "lr": 0.01}])

    asked = Settings(
        epochs=4, optimizer=two, decay_all=True, layer_decay=None, schedule=MultiStep([2], gamma=0.5), average=None,
        awp=None, clip_grad_norm=None, accumulate=1, select="last", log_every=1, checkpoint_every=None,
        attack_steps=None, image_size=None, fast=False, compile=False, channels_last=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    plain = copy.deepcopy(model)
    images, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
    updates = Updates(model, Standard(), asked, Accelerator(cpu=True), images, 1)
    optimizer = two(list(plain.parameters()))
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], gamma=0.5)
    for epoch in range(4):
        updates.take(Batch(images, labels), epoch, 0, last=True)
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(images), labels).backward()
        optimizer.step()
        assert updates.rate == optimizer.param_groups[0]["lr"]
        theirs.step()
    for ours, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)
