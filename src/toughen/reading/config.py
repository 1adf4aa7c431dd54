"""What a run's config.yaml holds, as far as it is read without building anything."""

from typing import Any, NotRequired, TypedDict

from toughen.reading.schema import Amount


class _Threat(TypedDict):
    """A threat model."""

    norm: NotRequired[str]
    eps: NotRequired[Amount | str]


class Config(TypedDict):
    """The configuration of a run, or of an evaluation: all of it may be missing, nothing may be of another kind."""

    data: NotRequired[dict[str, Any]]
    model: NotRequired[dict[str, Any]]
    method: NotRequired[dict[str, Any]]
    optimizer: NotRequired[dict[str, Any]]
    threat: NotRequired[_Threat | None]
    weights: NotRequired[str | None]
