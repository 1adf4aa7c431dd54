"""SuccessEMA against its recurrence written out, and in a run."""

from pathlib import Path

import pytest
import torch
from torch import nn

from toughen import train
from toughen.errors import InputError
from toughen.methods import FGSMPGK, TRADES, RegMix
from toughen.models import SmallCNN
from toughen.training import SuccessEMA


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    ("held", "steps", "expected"),
    [
        (0.5, 10_000, 0.999),  # the attack succeeds
        (0.8199, 10_000, 0.999),
        (0.82, 10_000, 0.99999),  # it fails
        (0.9, 10_000_000, 1.0),  # 0.99999 * 0.9 / 0.82 is over 1: nothing is taken in, up to the warm-up's rest
        (0.5, 0, 0.1),  # warm-up: (t + 1) / (t + 10)
        (0.9, 5, 0.4),
        (0.5, 8_990, 8_991 / 9_000),
    ],
)
def test_decay(held: float, steps: int, expected: float) -> None:
    found = SuccessEMA().decay_after(torch.tensor(held, dtype=torch.float64), steps)
    assert found.item() == pytest.approx(min(expected, (steps + 1) / (steps + 10)), rel=1e-9)


def test_the_average_is_the_recurrence_on_weights_and_statistics() -> None:
    model, method, average = network(), FGSMPGK(), SuccessEMA(decay=0.3, threshold=0.6)
    averaged = average.build(model)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step, held in enumerate([0.5, 0.2, 0.59, 0.6, 0.9, 0.1]):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * (step + 1)
        model.train()(torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(step)))
        method.held.fill_(held)
        average.update(averaged, model, method)
        decay = 0.3 if held < 0.6 else min(1.0, 0.99999 * held / 0.6)
        decay = min(decay, (step + 1) / (step + 10))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
    for name, tensor in expected.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(averaged.module.state_dict()[name], tensor)
    assert averaged.module[1].num_batches_tracked == 6
    assert averaged.n_averaged == 6


def test_an_average_only_while_the_attack_fails_counts_only_those_steps() -> None:
    model, method, average = network(), FGSMPGK(), SuccessEMA(threshold=0.6, only_failing=True)
    averaged = average.build(model)
    expected = model[0].weight.detach().clone()
    for step, held in enumerate([0.5, 0.7, 0.2, 0.6]):
        with torch.no_grad():
            model[0].weight += step + 1
        method.held.fill_(held)
        average.update(averaged, model, method)
        if held >= 0.6:
            decay = [0.1, 2 / 11][int(step > 1)]  # (n + 1) / (n + 10) of updates n = 0 and 1
            expected = decay * expected + (1 - decay) * model[0].weight.detach()
        torch.testing.assert_close(averaged.module[0].weight, expected)
    assert averaged.n_averaged == 2


def test_it_is_due_after_every_step() -> None:
    assert all(SuccessEMA().due(epoch, last, update=3) for epoch in (0, 9) for last in (False, True))


def test_a_method_that_does_not_measure_its_attack_is_refused() -> None:
    model, average = network(), SuccessEMA()
    for method in (TRADES(), RegMix(alpha=0.0, beta=0.0)):
        name = type(method).__name__
        with pytest.raises(
            InputError, match=rf"--average SuccessEMA follows .* which {name} does not measure; use --average EMA"
        ):
            average.update(average.build(model), model, method)


@pytest.mark.parametrize(("settings", "name"), [({"decay": 1.0}, "decay"), ({"threshold": 0.0}, "threshold")])
def test_settings_out_of_range(settings: dict, name: str) -> None:
    with pytest.raises(InputError, match=rf"average\.{name}"):
        SuccessEMA(**settings)


def test_a_run_reports_the_average(tmp_path: Path) -> None:
    settings = {"epochs": 1, "budget": "none", "trackers": [], "device": "cpu", "batch_size": 256}
    trained = train(
        model=SmallCNN(10, 1, width=4), method=FGSMPGK(), average=SuccessEMA(), out=str(tmp_path / "a"), **settings
    )
    plain = train(model=SmallCNN(10, 1, width=4), method=FGSMPGK(), out=str(tmp_path / "b"), **settings)
    assert not torch.equal(next(trained.model.parameters()), next(plain.model.parameters()))
