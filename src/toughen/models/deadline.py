"""A moment after which a model is asked no more."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from torch import Tensor, nn


class TimeUp(Exception):
    """The time limit has passed. It never leaves `evaluate_model`."""


class Deadline:
    """A moment after which the evaluation stops.

    Args:
        seconds: time from now; None for no limit.
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
