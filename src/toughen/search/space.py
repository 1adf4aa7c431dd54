"""What a search varies: settings by their dotted names, each with a list of values or a range."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Any, NotRequired, Protocol, TypedDict

from toughen.errors import InputError, did_you_mean
from toughen.numbers import as_float
from toughen.reading.schema import UnfitError, check_kind, shown

Value = bool | int | float | str | None
"""A value that a setting is given: a number, a name, true, false or null."""
Values = dict[str, Value]
"""What one trial gives to each setting that varies."""
LARGEST_GRID = 10_000
"""Points that a grid may have."""


class Suggests(Protocol):
    """Whoever chooses values; Optuna's `Trial` does."""

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        """One of these."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number, both ends included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number, both ends included."""


@dataclass(frozen=True)
class Choices:
    """A setting that takes one of some values."""

    name: str
    values: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """All of them: each may be wrong by itself."""
        return self.values

    def suggest(self, by: Suggests) -> Value:
        """One of them."""
        return self.given(by.suggest_categorical(self.name, self.values))

    def given(self, found: Value) -> Value:
        """What the setting is given for a value that was found."""
        return found


@dataclass(frozen=True)
class Range:
    """A setting that takes a number from low to high, both included.

    Attributes:
        name: of the setting.
        low: the smallest.
        high: the largest.
        log: whether a factor of two is as likely anywhere.
        step: distance of the values; None for any, of whole numbers every one.
        whole: whether they are whole.
    """

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def ends(self) -> tuple[Value, ...]:
        """The two ends."""
        return (self.low, self.high)

    def suggest(self, by: Suggests) -> Value:
        """A number in it."""
        if self.whole:
            return by.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return self.given(by.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log))

    def given(self, found: Value) -> Value:
        """What the setting is given for a value that was found: of four digits, so that a command can be typed."""
        if self.whole or not isinstance(found, float):
            return found
        return min(max(float(f"{found:.4g}"), self.low), self.high)

    def all(self) -> Choices:
        """Every value of it, for a grid.

        Raises:
            InputError: it has no step, or too many values.
        """
        if self.step is None and not self.whole:
            raise InputError(f"vary: {self.name}: a grid needs a list of values, or a step beside low and high")
        step = self.step or 1
        count = int((self.high - self.low) / step * (1 + 1e-12)) + 1
        if count > LARGEST_GRID:
            raise InputError(
                f"vary: {self.name}: {count:,} values; a grid may have {LARGEST_GRID:,} points, widen step"
            )
        values = [self.low + number * step for number in range(count)]
        return Choices(self.name, tuple(int(each) if self.whole else float(f"{each:.12g}") for each in values))


Axis = Choices | Range


class _Described(TypedDict):
    """A range as a file writes it."""

    low: int | float | str
    high: int | float | str
    log: NotRequired[bool]
    step: NotRequired[int | float | str]


def read_space(vary: Mapping[str, Any]) -> tuple[Axis, ...]:
    """The settings that vary, as a file or a call describes them; settings may lie in each other.

    Raises:
        InputError: naming the setting, what was expected and what came.

    >>> read_space({"method.beta": [1, 6], "optimizer": {"lr": {"low": "1e-3", "high": 0.1, "log": True}}})[1].low
    0.001
    """
    axes = tuple(_axis(name, described) for name, described in _flat(vary))
    names = [axis.name for axis in axes]
    if not axes:
        raise InputError("vary: expected settings with their values, such as {method.beta: [1, 3, 6]}, got none")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"vary: {min(twice)} stands there twice; give it once")
    return axes


def grid_of(axes: Sequence[Axis]) -> list[Values]:
    """Every combination of values, the last setting's changing first.

    Raises:
        InputError: a range without a step, or more than 10,000 combinations.
    """
    lists = [axis.all() if isinstance(axis, Range) else axis for axis in axes]
    count = prod(len(each.values) for each in lists)
    if count > LARGEST_GRID:
        raise InputError(f"vary: {count:,} combinations; a grid may have {LARGEST_GRID:,}, or set search to tpe")
    return list(combinations(lists))


def combinations(axes: Sequence[Axis], most: int | None = None) -> Iterator[Values]:
    """Combinations of the ends of ranges and of all choices, up to so many of them."""
    names = [axis.name for axis in axes]
    for values in islice(product(*(axis.ends for axis in axes)), most):
        yield dict(zip(names, values, strict=True))


_RANGE = frozenset(_Described.__annotations__)


def _flat(vary: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting with its description."""
    for key, inner in vary.items():
        name = f"{outer}{key}"
        if isinstance(inner, Mapping) and inner and not _RANGE & set(inner):
            yield from _flat(inner, f"{name}.")
        else:
            yield name, inner


def _axis(name: str, described: Any) -> Axis:
    if isinstance(described, list | tuple):
        return _choices(name, described)
    if not isinstance(described, Mapping):
        raise InputError(
            f"vary: {name}: expected a list of values such as [1, 3, 6] or a range such as {{low: 1, high: 6}}, got "
            f"{shown(described)}"
        )
    for key in described:
        if key not in _RANGE:
            raise InputError(f"vary: {name}.{key}: unknown entry of a range; {did_you_mean(str(key), _RANGE)}")
    try:
        check_kind(dict(described), _Described)
    except UnfitError as error:
        raise InputError(f"vary: {name}: {error}") from error
    given = {
        key: as_float(described[key], f"vary: {name}.{key}") for key in ("low", "high", "step") if key in described
    }
    whole = all(isinstance(described[key], int) for key in given)
    found = Range(name, given["low"], given["high"], described.get("log", False), given.get("step"), whole)
    if not found.low < found.high:
        raise InputError(f"vary: {name}: expected low below high, got {found.low:g} and {found.high:g}")
    if found.log and (found.low <= 0 or found.step is not None):
        raise InputError(f"vary: {name}: log needs a low above 0 and no step, got low {found.low:g}, step {found.step}")
    if found.step is not None and not 0 < found.step <= found.high - found.low:
        raise InputError(f"vary: {name}.step: expected more than 0 and at most high - low, got {found.step:g}")
    return found


def _choices(name: str, values: Sequence[Any]) -> Choices:
    for each in values:
        if not isinstance(each, bool | int | float | str | None):
            raise InputError(f"vary: {name}: expected numbers, names, true, false or null, got {shown(each)}")
    if not values or len({repr(each) for each in values}) < len(values):
        raise InputError(f"vary: {name}: expected different values, got {shown(list(values))}")
    return Choices(name, tuple(values))
