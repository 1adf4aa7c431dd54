from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import nn

from toughen.models.mode import buffers_kept, evaluating, flags_kept

Keep = Callable[[nn.Module], AbstractContextManager[None]]


def network() -> nn.Sequential:
    """In train mode, but with one layer frozen in eval mode, as in fine-tuning."""
    frozen = nn.BatchNorm2d(2).eval()
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(frozen, nn.Dropout()), nn.ReLU())


def flags(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_eval_mode_inside_and_every_flag_back() -> None:
    model = network()
    before = flags(model)
    assert sorted(set(before)) == [False, True]
    with evaluating(model):
        assert not any(flags(model))
    assert flags(model) == before


def test_flags_may_change_inside() -> None:
    model = network()
    before = flags(model)
    with flags_kept(model):
        assert flags(model) == before
        model.train()
        assert all(flags(model))
    assert flags(model) == before


@pytest.mark.parametrize("keep", [evaluating, flags_kept])
def test_flags_come_back_after_an_error(keep: Keep) -> None:
    model = network()
    before = flags(model)

    def fail() -> None:
        with keep(model):
            model.train(not model.training)
            model[0](torch.zeros(1))

    with pytest.raises(RuntimeError):
        fail()
    assert flags(model) == before


def test_nested() -> None:
    model = network()
    before = flags(model)
    with evaluating(model):
        with evaluating(model):
            pass
        assert not any(flags(model))
    assert flags(model) == before


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_buffers_come_back_where_they_are(error: type[Exception] | None) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}

    def use() -> None:
        with buffers_kept(model):
            model(torch.rand(2, 1, 5, 5))
            assert not torch.equal(model.get_buffer("1.running_mean"), before["1.running_mean"][1])
            if error is not None:
                raise error

    with nullcontext() if error is None else pytest.raises(error):
        use()
    assert all(model.get_buffer(name) is buffer for name, (buffer, _) in before.items())
    assert all(torch.equal(buffer, value) for buffer, value in before.values())
