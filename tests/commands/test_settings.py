import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from torch import nn

from toughen import evaluate, train, tune_batch
from toughen.commands.settings import check_settings
from toughen.commands.train import DEFAULTS
from toughen.data import Digits
from toughen.errors import InputError
from toughen.methods import Standard

NEEDED: dict[Callable[..., Any], dict[str, Any]] = {
    train: {"method": Standard(), "epochs": 1, "budget": "none", "trackers": []},
    tune_batch: {"method": Standard()},
    evaluate: {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "data": Digits(), "budget": "quick"},
}


def numeric(function: Callable[..., Any]) -> list[str]:
    kinds = {name: (hint, *get_args(hint)) for name, hint in get_type_hints(function).items()}
    return [
        name for name in inspect.signature(function).parameters if any(kind in (int, float) for kind in kinds[name])
    ]


SETTINGS = [(function, name) for function in NEEDED for name in numeric(function)]
SETTINGS += [(tune_batch, name) for name in numeric(train)]


@pytest.mark.parametrize("bad", [math.nan, -1, math.inf])
@pytest.mark.parametrize(("function", "name"), SETTINGS, ids=[f"{each.__name__}.{name}" for each, name in SETTINGS])
def test_meaningless_numbers_are_refused_before_a_folder_is_made(
    function: Callable[..., Any], name: str, bad: float, tmp_path: Path
) -> None:
    place = {} if function is tune_batch else {"out": str(tmp_path / "a")}
    with pytest.raises(InputError, match=f"{name}: expected"):
        function(**{**NEEDED[function], **place, name: bad})
    assert not (tmp_path / "a").exists()


def test_the_walk_meets_every_setting() -> None:
    assert {name for function, name in SETTINGS if function is train} == {
        "epochs", "batch_size", "clip_grad_norm", "accumulate", "label_smoothing", "train_images", "val_images",
        "workers", "seed", "checkpoint_every", "log_every", "test_images",
    }  # fmt: skip
    assert {name for function, name in SETTINGS if function is evaluate} == {
        "test_images", "seed", "batch_size", "eot", "time_limit",
    }  # fmt: skip


@pytest.mark.parametrize("clip", [-1.0, 0.0])
def test_a_bound_of_the_gradient_is_above_zero(clip: float) -> None:
    """torch multiplies with bound / norm: a negative one climbs the loss, 0 leaves the weights where they are."""
    with pytest.raises(InputError, match="--clip_grad_norm: expected a norm above 0"):
        check_settings({**DEFAULTS, "clip_grad_norm": clip})


@pytest.mark.parametrize("clip", [None, 1e-3, 5])
def test_a_usable_bound_of_the_gradient_passes(clip: float | None) -> None:
    check_settings({**DEFAULTS, "clip_grad_norm": clip})
