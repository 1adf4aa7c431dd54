"""What the shipped analyses of an evaluation leave in result.json."""

from typing import Any, NotRequired, TypedDict

from toughen.reading.figure import FigureFacts, Interval, Some
from toughen.reading.schema import Amount, Count, Share, UnfitError, check_kind


class _Point(FigureFacts):
    """A point of the curve over the radius."""

    eps: Amount


class _Curve(TypedDict):
    """The analysis `EpsCurve`."""

    settings: dict[str, Any]
    attack: str
    norm: str
    points: list[_Point]
    area: NotRequired[Share | None]
    area_interval: NotRequired[Interval | None]


class _Smallest(TypedDict):
    """The analysis `MinimumNorm`."""

    settings: dict[str, Any]
    attack: str
    norm: str
    n: Count
    median: NotRequired[Amount | None]
    norms: list[Amount | None]
    held_at_eps: NotRequired[FigureFacts | None]


class _OtherNorm(FigureFacts):
    """One row of the analysis `OtherNorms`."""

    norm: str
    eps: Amount
    attack: str


class _OtherNorms(TypedDict):
    """The analysis `OtherNorms`."""

    settings: dict[str, Any]
    rows: list[_OtherNorm]


class _DecisionBased(FigureFacts):
    """The analysis `DecisionBased`."""

    settings: dict[str, Any]
    attack: str


class _Corruption(FigureFacts):
    """One corruption of one severity."""

    corruption: str
    severity: Count


class _Mean(TypedDict):
    """A mean of shares."""

    accuracy: Share
    interval: NotRequired[Interval | None]


class _Corruptions(TypedDict):
    """The analysis `Corruptions`."""

    settings: dict[str, Any]
    library: str
    rows: list[_Corruption]
    mean: _Mean
    enlarged: NotRequired[Count]


class _SelfCheckSettings(TypedDict):
    """Those of `SelfChecks`."""

    draws: Some
    queries: Some


class _SelfChecks(TypedDict):
    """The analysis `SelfChecks`."""

    settings: _SelfCheckSettings
    indices: list[Count]
    steps: Count
    more_steps: Count
    eps: Amount
    double_eps: Amount
    held: dict[str, str]


class AnalysesFacts(TypedDict):
    """What the shipped analyses found; one's own stand beside them."""

    eps_curve: NotRequired[_Curve]
    minimum_norm: NotRequired[_Smallest]
    other_norms: NotRequired[_OtherNorms]
    decision_based: NotRequired[_DecisionBased]
    corruptions: NotRequired[_Corruptions]
    self_checks: NotRequired[_SelfChecks]


def check_analyses(value: Any) -> None:
    """Raise unless plain data is what analyses found, by name.

    Raises:
        UnfitError: naming the entry, what was expected and what came.
    """
    check_kind(value, dict[str, dict])
    check_kind(value, AnalysesFacts)
    again = value.get("self_checks", {"held": {}, "indices": []})
    if any(len(held) != len(again["indices"]) for held in again["held"].values()):
        raise UnfitError("self_checks.held: expected a digit for each of the indices")
