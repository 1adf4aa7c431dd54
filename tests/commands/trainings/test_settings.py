import inspect
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import nn

from toughen import evaluate, train, tune_batch
from toughen.attacks import GradientAttack
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.begun import check_asked
from toughen.commands.trainings.network import fresh_model
from toughen.commands.trainings.settings import check_settings, restore
from toughen.data import Digits
from toughen.errors import InputError
from toughen.evaluation import EvaluationSettings
from toughen.methods import TRADES, Standard
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.signature import settings_of
from toughen.training import AWP, SGD, Constant, Cosine, OneCycle, Schedule, own_randomness

NEEDED: dict[Callable[..., Any], dict[str, Any]] = {
    train: {"method": Standard(), "epochs": 1, "budget": "none", "trackers": []},
    tune_batch: {"method": Standard()},
    evaluate: {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "data": Digits(), "budget": "quick"},
}
ASCENT = "toughen.attacks.ascent.Ascent"
"""What an earlier version called `GradientAttack`."""


class Still(Schedule):
    """The same factor all along."""

    def __init__(self, level: float = 0.0) -> None:
        self.level = level

    def factor(self, epoch: float, epochs: int) -> float:
        return self.level


def numeric(function: Callable[..., Any]) -> list[str]:
    """The settings that are numbers, those of a settings object included."""
    kinds = {name: (hint, *get_args(hint)) for name, hint in get_type_hints(function).items()}
    inner = [name for kind in kinds.values() if kind[0] is EvaluationSettings for name in numeric(kind[0])]
    return [
        name for name in inspect.signature(function).parameters if any(kind in (int, float) for kind in kinds[name])
    ] + inner


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
        "workers", "seed", "checkpoint_every", "log_every", "test_images", "layer_decay", "body_rate",
    }  # fmt: skip
    assert {name for function, name in SETTINGS if function is evaluate} == {
        "eps", "test_images", "seed", "batch_size", "eot", "time_limit", "width", "audit",
    }  # fmt: skip


@pytest.mark.parametrize("clip", [-1.0, 0.0])
def test_a_bound_of_the_gradient_is_above_zero(clip: float) -> None:
    """torch multiplies with bound / norm: a negative one climbs the loss, 0 leaves the weights where they are."""
    with pytest.raises(InputError, match="--clip_grad_norm: expected a norm above 0"):
        check_settings({**DEFAULTS, "clip_grad_norm": clip})


@pytest.mark.parametrize("clip", [None, 1e-3, 5])
def test_a_usable_bound_of_the_gradient_passes(clip: float | None) -> None:
    check_settings({**DEFAULTS, "clip_grad_norm": clip})


ONE_UPDATE = {"model": partial(SmallCNN, width=2), "train_images": 40, "batch_size": 40, "epochs": 1, **NEEDED[train]}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "OneCycle"),  # the first update of a rise from zero has rate 0, and there is no second one
        ({"schedule": Cosine(warmup=2)}, "Cosine"),
        ({"batch_size": 10, "accumulate": 4}, "OneCycle"),
        ({"schedule": Still(), "epochs": 3}, "Still"),
    ],
)
def test_a_run_whose_every_rate_is_0_is_refused(settings: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"--schedule {name}: the learning rate is 0 in every update .*; raise"):
        train(**{**ONE_UPDATE, **settings}, out=str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_a_rate_that_climbs_the_loss_is_refused(factor: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--schedule Still: its factor: expected a number of at least 0"):
        train(**{**ONE_UPDATE, "schedule": Still(factor)}, out=str(tmp_path / "a"))


@pytest.mark.parametrize("settings", [{"schedule": Constant()}, {"batch_size": 20}, {"schedule": OneCycle(peak=0)}])
def test_one_update_above_0_trains(settings: dict[str, Any], tmp_path: Path) -> None:
    trained = train(**{**ONE_UPDATE, **settings}, select="last", out=str(tmp_path / "a"))
    with own_randomness(0):
        fresh = fresh_model(ONE_UPDATE["model"], Digits().load("train"))
    assert not torch.equal(trained.model.get_submodule("network.fc").weight, fresh.get_submodule("network.fc").weight)


def test_an_optimiser_of_a_configuration_from_before_there_were_others() -> None:
    arguments = {"lr": 0.05, "momentum": 0.8, "weight_decay": 1e-4, "nesterov": True}
    written = {"class_path": "toughen.training.optimizer.SGD", "init_args": {**arguments, "decay_all": False}}
    found = restore({"optimizer": written}, settings_of(train), Path("config.yaml"))
    assert found["decay_all"] is False
    assert (found["optimizer"].func, found["optimizer"].keywords) == (SGD, arguments)


def test_a_run_of_an_earlier_version_goes_on_by_the_names_of_now(tmp_path: Path) -> None:
    settings = {**DEFAULTS, "method": TRADES(attack=GradientAttack(steps=3)), "decay_all": False}
    asked = {name: describe(value) for name, value in settings.items()}
    before = json.loads(json.dumps(asked).replace("toughen.attacks.gradient.GradientAttack", ASCENT))
    before["optimizer"]["init_args"]["decay_all"] = before.pop("decay_all")
    folder = RunFolder(tmp_path)
    folder.write_config(before)
    assert ASCENT in folder.config.read_text()
    check_asked(asked, folder, settings)
    with pytest.raises(InputError, match=r"begun with other settings:\n  decay_all: false, now true\nGive"):
        check_asked({**asked, "decay_all": True}, folder, settings)


def test_decay_of_moved_weights_is_that_of_sgd() -> None:
    moved = {**DEFAULTS, "awp": AWP(start=1, decay_moved=True)}
    check_settings(moved)
    with pytest.raises(InputError, match="--awp.decay_moved: expected SGD, .* got --optimizer AdamW"):
        check_settings({**moved, "optimizer": torch.optim.AdamW})
