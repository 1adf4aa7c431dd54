"""What a training records of itself, and where it keeps that."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from accelerate import Accelerator
from torch import Tensor, nn

from toughen.batch import Batch
from toughen.data import Loader, sample_by_class
from toughen.methods import Method, Perturbed, Terms
from toughen.run import RunFolder
from toughen.training.log import Row, write_rows
from toughen.training.trace.gradients import GradientTrace
from toughen.training.trace.record import write_followed
from toughen.training.trace.weights import FOLLOWED, WeightTrace

Traced = Literal["gradients", "weights"]
"""What a run may record: conflict of the terms' gradients; what each image counts."""


class Trace:
    """The records of one run. The weights that it ends with are the same with and without them, bit by bit.

    Args:
        gradients: of the conflict between terms, where it is recorded.
        weights: of what each image counts, where that is.
    """

    def __init__(self, gradients: GradientTrace | None = None, weights: WeightTrace | None = None) -> None:
        self.gradients, self.weights = gradients, weights
        self.rows: list[Row] = []
        self.followed: list[Tensor] = []

    def aim(self, place: int, flops: float | None) -> None:
        """See `GradientTrace.aim`."""
        if self.gradients is not None:
            self.gradients.aim(place, flops)

    def look(self, batch: Batch, perturbed: Perturbed) -> None:
        """Look at the next step's gradients, where they are recorded; to be called before its passes."""
        if self.gradients is not None:
            self.gradients.look(batch, perturbed)

    @contextmanager
    def watching(self, batch: Batch, perturbed: Perturbed) -> Iterator[Callable[[Terms], None]]:
        """Watch a step's passes inside, where images' weights are recorded; gives what is to be told its terms."""
        if self.weights is None:
            yield lambda terms: None
            return
        with self.weights.watching(batch, perturbed) as tell:
            yield tell

    def end_epoch(self, epoch: int) -> Row:
        """Take down an epoch, from 1, and give its figures for trackers. All processes must call it together."""
        row: Row = {} if self.gradients is None else self.gradients.end_epoch()
        if self.weights is not None:
            figures, followed = self.weights.end_epoch()
            row |= figures
            self.followed.append(followed)
        if row:
            self.rows.append({"epoch": float(epoch), **row})
        return {f"trace/{name}": x for name, x in row.items()}

    def writes(self, folder: RunFolder) -> dict[str, Callable[[], None]]:
        """What writes each file of the run's folder, by the file's name, with the figures that there are now."""
        found: dict[str, Callable[[], None]] = {}
        if self.rows:
            found[folder.trace.name] = partial(write_rows, folder.trace, list(self.rows))
        if self.weights is not None and self.followed:
            sample, labels = self.weights.sample, self.weights.labels
            table = partial(write_followed, folder.image_weights, sample, labels, list(self.followed))
            found[folder.image_weights.name] = table
        return found

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, that all processes share."""
        gradients = {} if self.gradients is None else {"gradients": self.gradients.state_dict()}
        return {"rows": self.rows, "followed": self.followed, **gradients}

    def own_state(self) -> dict[str, Any]:
        """State of this process alone."""
        return {} if self.weights is None else self.weights.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what all processes share; nothing where the checkpoint is of before there were traces."""
        self.rows, self.followed = list(state.get("rows", [])), list(state.get("followed", []))
        if self.gradients is not None and "gradients" in state:
            self.gradients.load_state_dict(state["gradients"])

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what is this process's own."""
        if self.weights is not None and state:
            self.weights.load_state_dict(state)


def trace_of(
    wanted: Sequence[Traced], model: nn.Module, method: Method, train: Loader, accelerator: Accelerator
) -> Trace:
    """The records that a run is to make.

    Args:
        wanted: what is recorded.
        model: the network that is trained.
        method: its method.
        train: the images that an epoch goes through.
        accelerator: device, precision and processes.
    """
    gradients = GradientTrace(model, method, len(train), accelerator.autocast) if "gradients" in wanted else None
    if "weights" not in wanted:
        return Trace(gradients)
    labels = train.images.labels[train.indices]
    places = sample_by_class(labels, min(FOLLOWED, len(labels)), train.seed)
    over_processes = partial(accelerator.reduce, reduction="sum")
    weights = WeightTrace(model, train.indices[places], labels[places], accelerator.device, over_processes)
    return Trace(gradients, weights)
