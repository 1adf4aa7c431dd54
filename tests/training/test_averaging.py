import copy

import pytest
import torch
from torch import nn

from toughen.errors import InputError
from toughen.methods import Standard
from toughen.training import EMA, SWA, Average


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def move(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by


def test_ema_is_the_plain_recurrence_on_weights_and_statistics() -> None:
    model = network()
    averaged = EMA(decay=0.9).build(model)
    expected = None
    for step in range(4):
        move(model, 0.1)
        model.train()(torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(step)))
        averaged.update_parameters(model)
        state = {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        expected = state if expected is None else {k: 0.9 * expected[k] + 0.1 * v for k, v in state.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(averaged.module.state_dict()[name], tensor)


def test_ema_begins_with_its_first_epoch() -> None:
    assert [EMA(start=3).due(epoch, last_of_epoch=False, update=1) for epoch in range(4)] == [False, False, True, True]


@pytest.mark.parametrize("average", [EMA(decay=0.9995), SWA(start=1)])
def test_what_is_no_real_number_is_taken_over_as_it_is(average: Average) -> None:
    model = network()
    model.register_buffer("order", torch.randperm(64, generator=torch.Generator().manual_seed(0)))
    model.register_buffer("kept", torch.arange(64) % 3 == 0)
    averaged = average.build(model)
    for step in range(5):
        model.order, model.kept = model.order.roll(step), ~model.kept
        move(model, 0.1)
        average.update(averaged, model, Standard())
    assert torch.equal(averaged.module.order, model.order)
    assert torch.equal(averaged.module.kept, model.kept)


def test_swa_is_the_mean_and_its_statistics_are_those_of_the_images() -> None:
    model = network()
    average = SWA(start=1)
    averaged = average.build(model)
    seen = []
    for _ in range(3):
        move(model, 0.5)
        averaged.update_parameters(model)
        seen.append(copy.deepcopy(model[0].weight.detach()))
    torch.testing.assert_close(averaged.module[0].weight, torch.stack(seen).mean(0))
    images = torch.rand(8, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    average.update_bn(averaged.module, [images])
    with torch.no_grad():
        features = averaged.module[0](images)
    torch.testing.assert_close(averaged.module[1].running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(averaged.module[1].running_var, features.var((0, 2, 3)))


def test_ema_estimates_statistics_where_its_weights_lost_the_noise_of_the_steps() -> None:
    model, average = network(), EMA(decay=0.9, estimate=2)
    averaged, signs = average.build(model), torch.Generator().manual_seed(0)
    for _ in range(60):
        with torch.no_grad():
            model[0].weight.copy_(torch.randint(2, model[0].weight.shape, generator=signs) * 2.0 - 1)
        model.train()(torch.rand(16, 1, 5, 5, generator=signs))
        average.update(averaged, model, Standard())
    batches = torch.rand(3, 8, 1, 5, 5, generator=signs)
    with torch.no_grad():
        features = averaged.module[0](batches[:2].flatten(0, 1)).unflatten(0, (2, 8))
    # Averaged signs vary by (1 - 0.9) / (1 + 0.9) of what signs do, averaged statistics as signs do.
    assert (averaged.module[1].running_var > 3 * features.var((0, 1, 3, 4))).all()
    left = iter(batches)
    average.update_bn(averaged.module, left)
    assert torch.equal(next(left), batches[2])
    torch.testing.assert_close(averaged.module[1].running_mean, features.mean((0, 1, 3, 4)))
    torch.testing.assert_close(averaged.module[1].running_var, features.var((1, 3, 4)).mean(0))


def test_when_weights_are_taken_in() -> None:
    assert all(EMA().due(epoch, last, 7) for epoch in (0, 9) for last in (False, True))
    due = [(epoch, last) for epoch in range(4) for last in (False, True) if SWA(start=3).due(epoch, last, 7)]
    assert due == [(2, True), (3, True)]  # epochs count from 0 here, from 1 for the user


def test_weights_taken_in_every_so_many_updates_of_the_run() -> None:
    average = SWA(start=2, every_steps=5)  # epochs of 8 updates
    due = [update for update in range(1, 33) if average.due((update - 1) // 8, update % 8 == 0, update)]
    assert due == [10, 15, 20, 25, 30]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: EMA(decay=1.0), "decay"),
        (lambda: SWA(start=0), "start"),
        (lambda: SWA(every_steps=0), "every_steps"),
        (lambda: EMA(estimate=-1), "estimate"),
    ],
)
def test_bad_settings(make, name: str) -> None:
    with pytest.raises(InputError, match=f"average.{name}"):
        make()
