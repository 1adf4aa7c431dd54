"""A config.yaml that somebody edited: every value is read by the type of its setting, and nothing else comes of it."""

import copy
import math
import warnings
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from toughen.commands.train import DEFAULTS, train
from toughen.commands.trainings.begun import MAY_CHANGE, unchanged
from toughen.commands.trainings.settings import restore
from toughen.data import Augment
from toughen.errors import InputError, RunError, ToughenError, ToughenWarning
from toughen.methods import LBGAT, TRADES, Guide
from toughen.models import SmallCNN
from toughen.run import RunFolder
from toughen.settings.description import describe
from toughen.settings.signature import settings_of
from toughen.training import AWP, EMA, MultiStep
from toughen.training.checkpoint import load_state, save_state

KNOWN = {name: setting for name, setting in settings_of(train).items() if name in DEFAULTS}
FILE = Path("runs/a/config.yaml")
VALUES = (
    None, True, "x", "8/255", "os.system", "toughen.run.RunFolder", 2.5, -1, 10**30, math.inf, math.nan, [], [1, "a"],
    {}, {"a": 1}, {"class_path": "os.system"}, {"class_path": 3}, {"class_path": "SGD", "init_args": [1]},
)  # fmt: skip


@cache
def configuration() -> dict[str, Any]:
    own = {
        "method": LBGAT(guide=Guide("resnet18", {"width": 4})), "schedule": MultiStep([2], 0.5), "average": EMA(0.9),
        "awp": AWP(start=2), "augment": Augment(2, flip=True), "train_images": 100, "checkpoint_every": 3,
    }  # fmt: skip
    described: dict[str, Any] = yaml.safe_load(yaml.safe_dump(describe({**DEFAULTS, **own})))
    return {name: value for name, value in described.items() if value is not None}


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where something may be edited in a configuration."""
    if path:
        yield path
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from places(item, (*path, name))


def read(path: tuple[str, ...], value: Any) -> Any:
    """What a configuration gives, whose value in this place was changed."""
    config = {path[0]: copy.deepcopy(configuration()[path[0]])}
    *before, last = path
    inner: Any = config
    for name in before:
        inner = inner[name]
    inner[last] = value
    return restore(config, KNOWN, FILE)[path[0]]


def test_every_edit_is_refused_or_means_what_it_says() -> None:
    """A number's place takes numbers alone, a whole one's whole ones, a truth value's truth values."""
    config = configuration()
    for path in places(config):
        if path[-2:-1] == ("settings",) or path == ("normalize",):  # a dict of anything; also statistics as text
            continue
        former: Any = config
        for name in path:
            former = former[name]
        for value in VALUES:
            try:
                read(path, value)
            except ToughenError:
                continue
            assert not isinstance(value, dict) or not isinstance(value.get("class_path"), str), path
            if isinstance(former, bool | int | float) and value is not None and value != "8/255":
                kinds = bool if isinstance(former, bool) else int if isinstance(former, int) else int | float
                assert isinstance(value, kinds), (path, value)
                assert isinstance(value, bool) == isinstance(former, bool), (path, value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("precision",), "fp8", "precision: expected one of auto, fp32, bf16, got 'fp8'"),
        (("epochs",), 2.5, "epochs: expected an int, got 2.5"),
        (("optimizer", "init_args", "lr"), "fast", "optimizer.lr: expected a float, got 'fast'"),
        (("method", "init_args", "no"), 1, "method.no: unknown setting of LBGAT"),
        (("method", "class_path"), "toughen.data.Digits", "method: toughen.data.Digits is not a Method; expected ALP"),
        (("method", "class_path"), "toughen.methods.Nothing", "cannot import 'toughen.methods.Nothing'"),
        (("data", "more"), 1, "data: expected class_path and its settings under init_args, got class_path"),
    ],
    ids=str,
)
def test_what_is_said_names_file_setting_value_and_what_is_expected(
    path: tuple[str, ...], value: Any, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(path, value)
    assert str(caught.value).startswith(f"{FILE}: ")
    assert said in str(caught.value)


def test_an_unknown_setting_is_named_with_the_nearest() -> None:
    with pytest.raises(RunError, match=r"runs/a/config.yaml: unknown setting 'epoch'; did you mean 'epochs'"):
        restore({"epoch": 3}, KNOWN, FILE)


def test_what_was_written_comes_back() -> None:
    config = configuration()
    found = restore(config, KNOWN, FILE)
    assert describe(restore(describe(found), KNOWN, FILE)) == describe(found)
    assert {name: value for name, value in describe(found).items() if name not in ("model", "optimizer")}.items() <= (
        config.items()
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = str(tmp_path_factory.mktemp("edited") / "a")
    own = {"method": TRADES(beta=2), "model": partial(SmallCNN, width=2), "label_smoothing": 0.1, "average": EMA(0.5)}
    small = {"epochs": 1, "batch_size": 20, "train_images": 60, "val_images": 20, "budget": "none", "device": "cpu"}
    return train(**own, **small, schedule=MultiStep([1]), trackers=[], out=out).folder


def without(config: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    rest = inner = copy.deepcopy(config)
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return rest


def is_leaf(config: dict[str, Any], path: tuple[str, ...]) -> bool:
    value: Any = config
    for name in path:
        value = value[name]
    return not isinstance(value, dict)


@pytest.mark.nightly
def test_a_line_that_is_gone_is_missed_unless_it_said_the_default(run: RunFolder) -> None:
    config = run.read_config()
    sound, missed, silent = describe(unchanged(run, KNOWN, DEFAULTS)), [], []
    try:
        for path in places(config):
            if path[-1] == "class_path" or path[0] in MAY_CHANGE:
                continue
            run.config.write_text(yaml.safe_dump(without(config, path)))
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    assert describe(unchanged(run, KNOWN, DEFAULTS)) == sound, path
                gone = [
                    ".".join(each) for each in places(config) if each[: len(path)] == path and is_leaf(config, each)
                ]
                assert all(f"{name} (" in str(said[0].message) for name in gone), path
                silent.append(".".join(path))
            except (RunError, InputError):
                missed.append(".".join(path))
    finally:
        run.config.write_text(yaml.safe_dump(config))
    assert {"method", "method.init_args.beta", "label_smoothing", "average", "model.init_args.width", "threat"} <= {
        *missed
    }
    assert {"guards", "guards.init_args.rollbacks", "awp", "fast"} <= {*silent}


def test_a_run_of_before_a_setting_existed_goes_on_with_its_default(run: RunFolder) -> None:
    config, state = run.read_config(), load_state(run.checkpoint)
    older = copy.deepcopy(config)
    del older["sync_batchnorm"], older["guards"]["init_args"]["dead_attack"]
    save_state(run.checkpoint, {**state, "begun": {**state["begun"], "config": older}})
    run.config.write_text(yaml.safe_dump(older))
    call = {"method": TRADES(beta=2), "model": partial(SmallCNN, width=2), "label_smoothing": 0.1, "average": EMA(0.5)}
    call |= {"epochs": 1, "batch_size": 20, "train_images": 60, "val_images": 20, "budget": "none", "device": "cpu"}
    call |= {"schedule": MultiStep([1]), "trackers": [], "out": str(run.path), "resume": "auto"}
    said = "does not have sync_batchnorm \\(false\\), guards.init_args.dead_attack \\(true\\): the version"
    try:
        with pytest.warns(ToughenWarning, match=said):
            train(**call)
        with pytest.raises(InputError, match="sync_batchnorm: false, now true"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(**call, sync_batchnorm=True)
        run.config.write_text(yaml.safe_dump({name: value for name, value in older.items() if name != "average"}))
        with pytest.raises(RunError, match=r"average.init_args.decay: 0\.5, now not there"):
            train(**call)
    finally:
        save_state(run.checkpoint, state)
        run.config.write_text(yaml.safe_dump(config))
