"""What result.json holds, as far as anything reads it. Keys beyond are kept and shown as they are."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from toughen.reading.schema import Amount, Between, Count, Share, UnfitError, check_kind
from toughen.threat import Norm

Interval = tuple[Share, Share]
Some = Annotated[int, Between(1, 2**53)]
"""How many of something that is there."""


class _Figure(TypedDict):
    """A share of images that held."""

    accuracy: Share
    interval: Interval
    held: Count
    n: Some


class _Threat(TypedDict):
    """A threat model."""

    norm: Norm
    eps: Amount


class AttackSettings(TypedDict):
    """An attack as it ran; its other settings are its own."""

    attack: NotRequired[str]
    steps: NotRequired[Count]
    standard: NotRequired[bool]


class DataFacts(TypedDict):
    """The images."""

    name: str
    split: str
    sha256: str
    n_total: NotRequired[Count]
    classes: NotRequired[list[str]]


ModelFacts = TypedDict("ModelFacts", {"sha256": str, "class": NotRequired[str]})


class _Planned(TypedDict):
    """What was to be evaluated."""

    n: Count
    attacks: list[str]


class FindingFacts(TypedDict):
    """A finding before the attacks."""

    name: str
    severity: Literal["note", "doubt"]
    message: str


class _Judged(TypedDict):
    """A self-check."""

    name: str
    title: str
    passed: bool | None
    message: str


class _OfClass(TypedDict):
    """The figures of a class."""

    label: Count
    name: str
    n: Count
    clean: _Figure
    robust: _Figure


class _Confusion(TypedDict):
    """How often each class is taken for each."""

    attack: str
    counts: list[list[Count]]
    nan_predictions: NotRequired[Count]


class _FilledBin(TypedDict):
    """Predictions of similar confidence."""

    n: Some
    confidence: Share
    accuracy: Share


class _EmptyBin(TypedDict):
    """A confidence that no prediction has."""

    n: Literal[0]


class _Reliability(TypedDict):
    """A reliability diagram."""

    ece: Share
    n: Count
    bins: list[_FilledBin | _EmptyBin]
    attack: NotRequired[str]


class _Calibration(TypedDict):
    """Both diagrams."""

    clean: NotRequired[_Reliability | None]
    adversarial: NotRequired[_Reliability | None]


class _Point(_Figure):
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
    held_at_eps: NotRequired[_Figure | None]


class _OtherNorm(_Figure):
    """One row of the analysis `OtherNorms`."""

    norm: str
    eps: Amount
    attack: str


class _OtherNorms(TypedDict):
    """The analysis `OtherNorms`."""

    settings: dict[str, Any]
    rows: list[_OtherNorm]


class _DecisionBased(_Figure):
    """The analysis `DecisionBased`."""

    settings: dict[str, Any]
    attack: str


class _Corruption(_Figure):
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


class _Analyses(TypedDict):
    """What the shipped analyses found; one's own stand beside them."""

    eps_curve: NotRequired[_Curve]
    minimum_norm: NotRequired[_Smallest]
    other_norms: NotRequired[_OtherNorms]
    decision_based: NotRequired[_DecisionBased]
    corruptions: NotRequired[_Corruptions]
    self_checks: NotRequired[_SelfChecks]


class _Audit(TypedDict):
    """What AutoAttack says of a sample of what cheap attacks left; before it has begun, what was asked for."""

    left: Count
    audited: Count
    broken: Count
    estimate: Share
    interval: Interval
    upper: Share
    suspicious: bool


class Result(TypedDict):
    """A result.json of schema 1; what came to be after its first version may be missing."""

    schema: Literal[1]
    key: NotRequired[str]
    complete: NotRequired[bool]
    planned: NotRequired[_Planned]
    robust_accuracy: _Figure
    figures: dict[str, _Figure]
    threat: _Threat
    attacks: dict[str, AttackSettings]
    further: NotRequired[list[str]]
    audit: NotRequired[_Audit]
    budget: str
    sample: str
    n: Count
    data: DataFacts
    model: ModelFacts
    versions: dict[str, str]
    seconds: dict[str, Amount]
    repeated: NotRequired[dict[str, Count]]
    preflight: NotRequired[list[FindingFacts]]
    probe: NotRequired[dict[str, Any]]
    checks: NotRequired[list[_Judged]]
    masking_suspected: NotRequired[list[str]]
    per_class: NotRequired[list[_OfClass]]
    confusion: NotRequired[_Confusion | None]
    calibration: NotRequired[_Calibration]
    analyses: NotRequired[_Analyses]
    warnings: list[str]
    created: NotRequired[str]


def check_result(value: Any) -> None:
    """Raise unless plain data is a result, in itself and in how its parts fit.

    Raises:
        UnfitError: naming the entry, what was expected and what came.
    """
    check_kind(value, Result)
    if "clean" not in value["figures"]:
        raise UnfitError("figures: expected clean among them")
    check_analyses(value.get("analyses", {}))
    confusion = value.get("confusion") or {"counts": []}
    if any(len(row) != len(confusion["counts"]) for row in confusion["counts"]):
        raise UnfitError("confusion.counts: expected as many columns as rows")
    figures = [value["robust_accuracy"], *value["figures"].values()]
    if any(figure["held"] > figure["n"] for figure in figures):
        raise UnfitError("held: expected at most n in every figure")
    audit = value.get("audit", {"broken": 0, "audited": 0, "left": 0})
    if not audit["broken"] <= audit["audited"] <= audit["left"] <= value["n"]:
        raise UnfitError("audit: expected broken <= audited <= left <= n")


def check_analyses(value: Any) -> None:
    """Raise unless plain data is what analyses found, by name.

    Raises:
        UnfitError: naming the entry, what was expected and what came.
    """
    check_kind(value, dict[str, dict])
    check_kind(value, _Analyses)
    again = value.get("self_checks", {"held": {}, "indices": []})
    if any(len(held) != len(again["indices"]) for held in again["held"].values()):
        raise UnfitError("self_checks.held: expected a digit for each of the indices")
