"""How far an evaluation is, and how long the rest will take."""

from collections.abc import Callable
from dataclasses import dataclass

from toughen.evaluation.cost import Cost


@dataclass(frozen=True)
class Step:
    """Where an evaluation stands as an attack starts on a batch, or an analysis after the last attack.

    Attributes:
        done: images that are finished.
        total: images in all (of this process's shard).
        attack: name of the attack or analysis that starts now; empty at the end.
        left: expected seconds until the end; None before every attack has been timed on a batch.
        cost: with the first step: what all attacks cost at most.
    """

    done: int
    total: int
    attack: str
    left: float | None
    cost: Cost | None = None


Progress = Callable[[Step], None]
"""Called as each attack starts on a batch, and once at the end."""


class Pace:
    """Expects of the images to come what the finished ones took, attack by attack.

    Args:
        attacks: all of their names.

    >>> pace = Pace(["fgsm", "autoattack"])
    >>> pace.took("fgsm", images=10, seconds=1.0)
    >>> pace.left({"fgsm": 20, "autoattack": 30}) is None
    True
    >>> pace.took("autoattack", images=10, seconds=60.0)
    >>> pace.left({"fgsm": 20, "autoattack": 30})
    182.0
    """

    def __init__(self, attacks: list[str]) -> None:
        self._images = dict.fromkeys(attacks, 0)
        self._seconds = dict.fromkeys(attacks, 0.0)

    def took(self, attack: str, images: int, seconds: float) -> None:
        """Remember how long a batch took."""
        self._images[attack] += images
        self._seconds[attack] += seconds

    def left(self, images: dict[str, int]) -> float | None:
        """Seconds for so many more images under each attack; None where one of them was never timed."""
        if any(count and not self._images[attack] for attack, count in images.items()):
            return None
        return sum(self._seconds[attack] / self._images[attack] * count for attack, count in images.items() if count)
