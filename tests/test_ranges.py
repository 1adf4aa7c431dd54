"""No numeric setting takes a number that means nothing: each says so when it is constructed."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import pytest
import torch

from toughen import catalog
from toughen.data import Augment, CutMix, ExtraImages
from toughen.errors import InputError
from toughen.numbers import check_number
from toughen.settings.names import import_path
from toughen.threat import ThreatModel
from toughen.training import AWP, SGD, GrowingSize, GrowingSteps

NEEDED: dict[str, dict[str, Any]] = {
    "ExtraImages": {"path": "extra.npz"},
    "HuggingFace": {"path": "images"},
    "ImageFolder": {"path": "images"},
    "Manifest": {"path": "images.csv"},
    "MultiStep": {"milestones": [1]},
    "Parquet": {"path": "shards"},
    "RobustBench": {"name": "x"},
    "SGD": {"params": [torch.zeros(1)]},
    "Timm": {"name": "resnet18"},
    "TinyImageNet": {"path": "images"},
    "Torchvision": {"name": "resnet18"},
    "WebDataset": {"path": "shards"},
    "Transformers": {"name": "x"},
}
"""What a class cannot be made without."""

HOLDING: dict[str, Callable[[float], Any]] = {
    "Corruptions.severities": lambda number: [number],
    "MultiStep.milestones": lambda number: [number],
    "OtherNorms.eps": lambda number: {"l2": number},
    "ResNet18.strides": lambda number: [1, number, 2, 2],
}
"""Settings that hold several numbers."""
ANY_SIGN = {"GAIRAT.lam"}
"""Settings whose negative values mean something."""


def settings_classes() -> list[type]:
    kinds = [kind for kind in catalog.KINDS if kind != "optimizers"]  # torch's check themselves
    found = [import_path(entry.path) for kind in kinds for entry in catalog.classes(kind).values()]
    return [*found, SGD, AWP, Augment, CutMix, ExtraImages, GrowingSize, GrowingSteps, ThreatModel]  # type: ignore[list-item]


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from parts(argument)


def numeric_settings() -> Iterator[tuple[type, str, Callable[[float], Any]]]:
    """Class, parameter, and from a number to a value of the parameter's type."""
    for cls in settings_classes():
        hints = get_type_hints(cls.__init__)
        for name in inspect.signature(cls).parameters:
            if {int, float} & set(parts(hints[name])):
                yield cls, name, HOLDING.get(f"{cls.__name__}.{name}", lambda number: number)


SETTINGS = list(numeric_settings())


def test_the_walk_meets_every_kind() -> None:
    met = {(cls.__name__, name) for cls, name, _ in SETTINGS}
    assert len(met) > 80
    assert met >= {
        ("SGD", "lr"), ("Cosine", "warmup"), ("MultiStep", "milestones"), ("EMA", "decay"), ("AWP", "gamma"),
        ("PGD", "step_size"), ("TRADES", "beta"), ("ThreatModel", "eps"), ("ResNet18", "strides"),
        ("OtherNorms", "eps"), ("ImageFolder", "size"), ("ExtraImages", "fraction"), ("GrowingSize", "until"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "name", "valued"), SETTINGS, ids=[f"{cls.__name__}.{name}" for cls, name, _ in SETTINGS]
)
def test_meaningless_numbers_are_refused(cls: type, name: str, valued: Callable[[float], Any]) -> None:
    negative = () if f"{cls.__name__}.{name}" in ANY_SIGN else (-1,)
    for bad in (math.nan, math.inf, -math.inf, *negative):
        with pytest.raises(InputError, match=name):
            cls(**{**NEEDED.get(cls.__name__, {}), name: valued(bad)})


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        ({"least": 0}, [0, 1e300], [-1e-300]),
        ({"above": 0}, [1e-300], [0, -1]),
        ({"least": 0, "below": 1}, [0, 0.999], [1, -0.1]),
        ({"above": 0, "most": 1}, [0.1, 1], [0, 1.1]),
        ({"above": 0, "below": 1}, [0.1, 0.9], [0, 1]),
        ({"least": 1, "whole": True}, [1, 2], [0, 1.5, 2.0]),
    ],
)
def test_a_range(limits: dict[str, Any], inside: list[float], outside: list[float]) -> None:
    for number in inside:
        check_number("x", number, **limits)
    for number in [*outside, math.nan, math.inf, -math.inf, None, "1"]:
        with pytest.raises(InputError, match=r"^x: expected .*, got"):
            check_number("x", number, **limits)  # type: ignore[arg-type]
