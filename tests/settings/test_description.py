import inspect
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from torch import nn

from toughen.attacks import FGSM, PGD, GradientAttack
from toughen.catalog import classes
from toughen.data import Augment, ImageFolder, Parquet
from toughen.errors import InputError
from toughen.methods import ARR, PGDAT, TRADES, Method, Standard
from toughen.models import ResNet18, WideResNet
from toughen.settings.build import build
from toughen.settings.description import arguments_of, describe, path_of
from toughen.settings.given import Given
from toughen.settings.names import import_path
from toughen.settings.signature import REQUIRED, Setting
from toughen.threat import ThreatModel
from toughen.training import EMA, SWA, Average, Constant, Cosine, MultiStep, OneCycle

# Each with settings that are not the defaults, so that a dropped one shows.
SETTINGS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (GradientAttack, {"steps": 3, "step_size": 0.02, "start": "normal", "restarts": 2, "keep_best": True}),
    (PGD, {"steps": 7, "step_size": 0.01, "start": "clean", "mode": "train", "loss": "margin"}),
    (FGSM, {"step_size": 0.1, "start": "uniform", "loss": "dlr"}),
    (Augment, {"crop": 2, "flip": False}),
    (ImageFolder, {"path": "photos", "test": "more", "size": 48, "channels": 1, "name": "Photos"}),
    (Parquet, {"path": "shards", "image": "scan", "label": "digit", "size": 28, "name": "Scans"}),
    (Constant, {}),
    (MultiStep, {"milestones": [10, 15], "gamma": 0.2}),
    (Cosine, {"warmup": 1.5}),
    (OneCycle, {"peak": 0.4}),
    (EMA, {"decay": 0.99}),
    (SWA, {"start": 3}),
    (Standard, {}),
    (WideResNet, {"num_classes": 3, "in_channels": 1, "depth": 10, "width": 1, "dropout": 0.3}),
]
KINDS = ("methods", "models", "data", "attacks", "schedules", "averages", "analyses")


class Pair:
    """A user's own class whose settings hold other objects."""

    def __init__(self, *extra: int, parts: list[Any], named: dict[str, Any], where: Path | None = None, **rest: int):
        self.extra, self.parts, self.named, self.where, self.rest = extra, parts, named, where, rest


@dataclass
class Record:
    images: int
    seconds: float = field(default=0.0, init=False)


def rebuilt(described: Any, hint: Any) -> Any:
    """The value that a file describes for a setting of this type."""
    given = Given(("value",), "value", described, file="config.yaml")
    return build(Setting("value", hint, REQUIRED), [given], ("value",))


def through_yaml(described: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(described))


@pytest.mark.parametrize(("make", "arguments"), SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_object_comes_back_from_yaml(make: Callable[..., Any], arguments: dict[str, Any]) -> None:
    described = through_yaml(describe(make(**arguments)))
    assert described["class_path"] == f"{make.__module__}.{getattr(make, '__name__', '')}"
    assert described["init_args"].items() >= arguments.items()
    again = rebuilt(described, Callable[..., make] if issubclass(make, nn.Module) else make)
    again = again() if isinstance(again, partial) else again
    assert type(again) is make
    assert {name: getattr(again, name) for name in arguments} == arguments
    assert describe(again) == described


@pytest.mark.parametrize(
    "method",
    [
        TRADES(beta=3.0, attack=GradientAttack(steps=2)),
        PGDAT(attack=PGD(steps=4)),
        ARR(lam=2, attack=FGSM(start="uniform")),
    ],
    ids=lambda method: type(method).__name__,
)
def test_method_comes_back_with_its_attack(method: Any) -> None:
    described = through_yaml(describe(method))
    again = rebuilt(described, Method)
    assert type(again) is type(method)
    assert type(again.attack) is type(method.attack)
    assert vars(again.attack) == vars(method.attack)
    assert describe(again) == described


@pytest.mark.parametrize("kind", KINDS)
def test_every_named_class_keeps_its_settings(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument without an attribute of its name would be missing from config.yaml."""
    of, threat = Enum("Of", {"cifar": "cifar10"}), Enum("Threat", {"linf": "Linf"})
    zoo = {of.cifar: {threat.linf: {"resnet18": {"model": nn.Identity}}}}  # a library that is not installed here
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", SimpleNamespace(model_dicts=zoo))
    monkeypatch.setitem(sys.modules, "robustbench", SimpleNamespace())
    network = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4], "depths": [1]}
    needed = {"path": "folder", "name": "resnet18", "milestones": [1], "config": network}
    for entry in classes(kind).values():
        made = import_path(entry.path)
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = inspect.signature(made).parameters.items()
        names = [name for name, parameter in parameters if parameter.kind not in variadic]
        built = made(**{name: value for name, value in needed.items() if name in names})
        kept = list(describe(built)["init_args"])
        if getattr(built, "in_memory", False):  # images that a caller holds stay with the caller
            assert set(kept) < set(names), entry.name
        else:
            assert kept == names, entry.name


def test_objects_within_lists_and_dicts_come_back(tmp_path: Path) -> None:
    pair = Pair(1, parts=[EMA(0.5), 3, [SWA(2)]], named={"fast": OneCycle(0.1), "no": None}, where=tmp_path, more=2)
    described = through_yaml(describe(pair))
    assert set(described["init_args"]) == {"parts", "named", "where"}
    again = rebuilt(described["init_args"], dict)
    average, three, (other,) = again["parts"]
    assert (average.decay, three, other.start) == (0.5, 3, 2)
    assert (again["named"]["fast"].peak, again["named"]["no"]) == (0.1, None)
    assert again["where"] == str(tmp_path)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.1, 0.1),
        ("8/255", "8/255"),
        ((1, 2), [1, 2]),
        (OrderedDict(a=(1,)), {"a": [1]}),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (Fraction(1, 4), 0.25),
        (Path("runs") / "x", "runs/x"),
        (ThreatModel("l1", "3/4"), {"norm": "l1", "eps": 0.75}),
        (Record(3), {"images": 3}),
    ],
    ids=repr,
)
def test_plain_values(value: Any, plain: Any) -> None:
    described = describe(value)
    assert described == plain
    assert type(described) is type(plain)
    assert through_yaml(described) == plain


def test_infinity_comes_back() -> None:
    assert through_yaml(describe({"low": -math.inf})) == {"low": -math.inf}


@pytest.mark.parametrize(
    "waiting",
    [
        partial(ResNet18, width=4),
        partial(ResNet18, 7, width=4),
        partial(partial(ResNet18, 7), 3, width=4),
    ],
)
def test_partial_comes_back_with_what_it_holds(waiting: partial[Any]) -> None:
    described = through_yaml(describe(waiting))
    assert described["class_path"] == "toughen.models.resnet.ResNet18"
    assert described["init_args"] == {
        **dict(zip(["num_classes", "in_channels"], waiting.args, strict=False)),
        "width": 4,
    }
    network = rebuilt(described, Callable[..., nn.Module])(in_channels=3)
    assert (network.width, network.in_channels) == (4, 3)
    assert network.num_classes == (waiting.args or (10,))[0]


def test_class_waits_for_all_its_arguments() -> None:
    described = describe(ResNet18)
    assert described == {"class_path": "toughen.models.resnet.ResNet18", "init_args": {}}
    assert rebuilt(described, Callable[..., nn.Module])(num_classes=2, width=2).num_classes == 2


def test_function_is_described_by_its_path() -> None:
    assert describe(path_of) == {"class_path": "toughen.settings.description.path_of", "init_args": {}}
    assert import_path(path_of(path_of)) is path_of


def test_arguments_of_a_partial() -> None:
    assert arguments_of(partial(Augment, 2, flip=False)) == {"crop": 2, "flip": False}
    assert arguments_of(partial(Augment)) == {}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_package.Net", "No module named 'no_such_package'"),
        ("toughen.models.Nothing", "module 'toughen.models' has no attribute 'Nothing'"),
        ("toughen.models.", "module 'toughen.models' has no attribute ''"),
        ("Net", "Empty module name"),
        ("", "Empty module name"),
        (".net.Net", "it is relative"),
        ("./net.Net", "it is relative"),
    ],
)
def test_what_cannot_be_imported(path: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        import_path(path)
    assert str(caught.value) == f"cannot import {path!r}: {reason}; expected package.module.Name"


@pytest.mark.parametrize(
    ("path", "arguments", "reason"),
    [
        ("toughen.training.EMA", {"decoy": 0.5}, "value.decoy: unknown setting of EMA; did you mean 'decay'"),
        ("toughen.training.MultiStep", {"milestones": 3}, "value.milestones: expected a list"),
        ("toughen.training.MultiStep", {"milestones": [1.5]}, "each an int, got [1.5]"),
        ("toughen.methods.TRADES", {"beta": "much"}, "value.beta: expected a float, got 'much'"),
        ("toughen.methods.TRADES", {"attack": {"steps": 2.5}}, "value.attack.steps: expected an int, got 2.5"),
        ("toughen.methods.TRADES", {"attack": "EMA"}, "value.attack"),
        ("torch.nn.Linear", {"in_features": -1, "out_features": 2}, "cannot be built with"),
    ],
)
def test_arguments_that_the_class_does_not_take(path: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        rebuilt({"class_path": path, "init_args": arguments}, Any)


@pytest.mark.parametrize("decay", [2.0, -1.0])
def test_a_settings_own_error_stays_as_it_is(decay: Any) -> None:
    described = {"class_path": "toughen.training.EMA", "init_args": {"decay": decay}}
    with pytest.raises(InputError, match=rf"^average\.decay: expected a number between 0 and 1, got {decay!r}$"):
        rebuilt(described, Average)
