"""What a check before the attacks may find."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from toughen.evaluation.preflight.context import PreflightContext

Severity = Literal["note", "doubt"]
"""note: for information; doubt: the figure may flatter, or compare with no other."""


@dataclass(frozen=True)
class Finding:
    """Something that was seen before the first attack.

    Attributes:
        name: of what it is about; letters and underscores.
        severity: see `Severity`.
        message: what was seen, with figures, and what to do.
        figures: the same as plain data.
    """

    name: str
    severity: Severity
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return asdict(self)


@dataclass(frozen=True)
class PreflightCheck:
    """One file of this package.

    Attributes:
        place: findings stand in ascending order of it.
        find: looks at a model with its images.
    """

    place: int
    find: Callable[[PreflightContext], Iterable[Finding]]


def share(part: float) -> str:
    """A share of images in a message.

    >>> share(0.125)
    '12.5 %'
    """
    return f"{100 * part:.1f} %"
