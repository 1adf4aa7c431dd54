"""How long an evaluation will take, and when it must stop."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """Where an evaluation stands as an attack starts on a batch, or an analysis after the last attack.

    Attributes:
        done: images that are finished.
        total: images in all (of this process's shard).
        attack: name of the attack or analysis that starts now; empty at the end.
        left: expected seconds until the end; None before every attack has been timed on a batch.
    """

    done: int
    total: int
    attack: str
    left: float | None


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


class TimeUp(Exception):
    """The time limit has passed. It never leaves `evaluate_model`."""


class Deadline:
    """A moment after which the evaluation stops.

    Args:
        seconds: from now; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else monotonic() + seconds

    def check(self) -> None:
        """Raise `TimeUp` once the moment has passed."""
        if self._end is not None and monotonic() > self._end:
            raise TimeUp

    def watching(self, model: nn.Module) -> nn.Module:
        """The model, asked for the time before each of its passes: an attack may take an hour."""
        return model if self._end is None else _Watched(model, self)


def watched(model: nn.Module) -> tuple[nn.Module, Callable[[], None]]:
    """What a deadline watches, and its check; of another model the model itself, and a check that does nothing."""
    return (model.model, model.deadline.check) if isinstance(model, _Watched) else (model, lambda: None)


class _Watched(nn.Module):
    def __init__(self, model: nn.Module, deadline: Deadline) -> None:
        super().__init__()
        self.model = model
        self.deadline = deadline

    def forward(self, *arguments: Any) -> Tensor:
        self.deadline.check()
        return self.model(*arguments)
