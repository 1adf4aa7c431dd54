"""What result.json holds, as far as anything reads it. Keys beyond are kept and shown as they are."""

from typing import Any, Literal, NotRequired, TypedDict

from toughen.reading.analyses import AnalysesFacts, check_analyses
from toughen.reading.figure import FigureFacts, Interval, Some
from toughen.reading.schema import Amount, Count, Share, UnfitError, check_kind
from toughen.threat import Norm


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
    clean: FigureFacts
    robust: FigureFacts


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


class _Audit(TypedDict):
    """What AutoAttack says of a sample of what cheap attacks left; before it has begun, what was asked for."""

    left: Count
    audited: Count
    broken: Count
    broken_later: NotRequired[Count]
    estimate: Share
    interval: Interval
    upper: Share
    suspicious: bool
    attack: NotRequired[AttackSettings]


class Result(TypedDict):
    """A result.json of schema 1; what came to be after its first version may be missing."""

    schema: Literal[1]
    key: NotRequired[str]
    complete: NotRequired[bool]
    planned: NotRequired[_Planned]
    robust_accuracy: FigureFacts
    figures: dict[str, FigureFacts]
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
    analyses: NotRequired[AnalysesFacts]
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
    if not audit["broken"] + audit.get("broken_later", 0) <= audit["audited"] <= audit["left"] <= value["n"]:
        raise UnfitError("audit: expected broken + broken_later <= audited <= left <= n")
