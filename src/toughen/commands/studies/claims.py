"""The claims of a study, as its file has them: which method a paper says is better than which."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from toughen.commands.studies.plan import StudyPlan
from toughen.errors import InputError, did_you_mean
from toughen.reading.schema import UnfitError, check_kind
from toughen.reports.study.record import Claim, Measure
from toughen.settings.description import describe


class _ClaimFile(TypedDict):
    """What a claim says."""

    claim: str
    source: str
    row: str
    over: str
    measure: NotRequired[Measure]
    data: NotRequired[str]


def claims_of(described: Sequence[Mapping[str, Any]], plan: StudyPlan) -> tuple[Claim, ...]:
    """The claims that a file or a call describes.

    Raises:
        InputError: naming the claim, and what of it is not known.
    """
    return tuple(_claim(f"claims[{place}]", each, plan) for place, each in enumerate(described))


def _claim(place: str, described: Mapping[str, Any], plan: StudyPlan) -> Claim:
    try:
        check_kind(describe(described), _ClaimFile, place)
    except UnfitError as error:
        example = "{claim: more robust, source: Yang 2023, row: ARoW, over: TRADES}"
        raise InputError(f"{error}; a claim is such as {example}") from error
    for name in described:
        if name not in _ClaimFile.__annotations__:
            raise InputError(f"{place}: unknown {name!r}; {did_you_mean(name, _ClaimFile.__annotations__)}")
    for name, known in (("row", plan.rows), ("over", plan.rows), ("data", plan.data)):
        if name in described and described[name] not in known:
            raise InputError(f"{place}.{name}: unknown {described[name]!r}; {did_you_mean(described[name], known)}")
    if described["row"] == described["over"]:
        raise InputError(f"{place}.over: expected another row than {described['row']}, which is row already")
    return Claim(described["claim"], **{name: described[name] for name in described if name != "claim"})
