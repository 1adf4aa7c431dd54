"""What signatures say."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from toughen.attacks import PGD, GradientAttack
from toughen.methods import Method, Standard
from toughen.settings.signature import REQUIRED, Setting, expected, settings_of, takes_anything
from toughen.threat import ThreatModel


class Parent:
    """The parent.

    Args:
        width: how wide.
        depth: how deep.
    """

    def __init__(self, width: int = 3, depth: "int | None" = None) -> None: ...


class Child(Parent):
    """The child.

    Args:
        name: how it is called,
            in two lines.
        depth: how very deep.
    """

    def __init__(self, name, depth: int = 2, **rest: Any) -> None: ...  # type: ignore[no-untyped-def]


class Heir(Child):
    """No constructor of its own."""


class Grandchild(Child):
    """The grandchild.

    Args:
        name: another one.
    """

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)


class Open:
    def __init__(self, **rest: Any) -> None: ...


class Colour(enum.Enum):
    RED = 1


class Base(ABC):
    @abstractmethod
    def act(self) -> None: ...


def test_own_settings_then_those_passed_on_to_the_parent() -> None:
    assert list(settings_of(Child).values()) == [
        Setting("name", Any, REQUIRED, "how it is called, in two lines."),
        Setting("depth", int, 2, "how very deep."),
        Setting("width", int, 3, "how wide."),
    ]
    assert settings_of(Heir) == settings_of(Child)
    assert settings_of(Parent)["depth"].hint == int | None


def test_the_nearest_docstring_counts() -> None:
    assert settings_of(Grandchild)["name"].help == "another one."
    assert settings_of(Grandchild)["depth"].help == "how very deep."


def test_a_function_has_settings_too() -> None:
    def called(a: int, *rest: int, b: str = "x", **more: int) -> None:
        """Do.

        Args:
            a: first.
        """

    assert list(settings_of(called).values()) == [Setting("a", int, REQUIRED, "first."), Setting("b", str, "x", "")]
    assert takes_anything(called)


def test_who_takes_any_name() -> None:
    assert takes_anything(Open)
    assert not takes_anything(Parent)
    assert not takes_anything(Standard)  # torch's Module says *args and **kwargs, and takes none
    assert not takes_anything(Child)  # its rest goes to Parent, whose names are known


@pytest.mark.parametrize(
    ("hint", "base"),
    [
        (Method, Method),
        (ThreatModel | None, ThreatModel),
        (GradientAttack, GradientAttack),
        (Base, Base),
        (Parent, Parent),
        (Callable[..., nn.Module], nn.Module),
        (Callable[..., nn.Module] | None, nn.Module),
        (int, None),
        (str | None, None),
        (Path, None),
        (str | Path, None),
        (Colour, None),
        (list[PGD], None),
        (PGD | str, None),
        (Literal["a"], None),
        (Any, None),
        (Callable[..., int], None),
    ],
)
def test_which_types_are_classes_to_choose(hint: Any, base: type | None) -> None:
    assert Setting("x", hint, None).base is base


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an int"),
        (float | None, "a float or null"),
        (bool, "true or false"),
        (str | Path, "text or a path"),
        (Any, "any value"),
        (list[int], "a list such as [a, b], each an int"),
        (tuple[int, ...], "a list such as [a, b], each an int"),
        (list, "a list such as [a, b]"),
        (dict[str, int], "settings such as {width: 32}"),
        (Literal["a", "b"] | Literal["c"], "one of a, b, c"),
        (Literal["auto"] | int, "an int or auto"),
        (float | str | None, "a number such as 0.03 or 8/255 or null"),
        (Colour, "Colour"),
    ],
)
def test_types_in_words(hint: Any, words: str) -> None:
    assert expected(hint) == words


def test_optional() -> None:
    assert [Setting("x", hint, 0).optional for hint in (int, int | None, Any)] == [False, True, True]
