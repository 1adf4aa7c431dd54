"""How a model is asked: until a moment, and in parts where memory is short."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from torch import Tensor, nn

from toughen.models.sparing import in_parts


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

    def watching(self, model: nn.Module, parts: int = 1) -> nn.Module:
        """The model, asked for the time before each of its passes: an attack may take an hour.

        Args:
            model: images to logits.
            parts: in how many its images are passed to it; see `in_parts`.
        """
        return model if self._end is None and parts == 1 else _Watched(model, self, parts)


Ask = Callable[[nn.Module, Tensor], Tensor]
"""How a network is asked for the logits of images."""


def watched(model: nn.Module) -> tuple[nn.Module, Ask]:
    """What a deadline watches, and how it is asked; of another model the model itself, which is called."""
    return (model.model, model.ask) if isinstance(model, _Watched) else (model, lambda network, images: network(images))


def asked_like(model: nn.Module, other: nn.Module) -> nn.Module:
    """Another model, asked as this one is."""
    return _Watched(other, model.deadline, model.parts) if isinstance(model, _Watched) else other


class _Watched(nn.Module):
    def __init__(self, model: nn.Module, deadline: Deadline, parts: int) -> None:
        super().__init__()
        self.model = model
        self.deadline = deadline
        self.parts = parts

    def forward(self, *arguments: Any) -> Tensor:
        if len(arguments) == 1:
            return self.ask(self.model, *arguments)
        self.deadline.check()
        return self.model(*arguments)

    def ask(self, network: nn.Module, images: Tensor) -> Tensor:
        self.deadline.check()
        return in_parts(network, images, self.parts)
