"""Records of a run: sums kept on the device, one row an epoch in metrics.csv, and the trackers."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from toughen.data import ImageSet, Split
from toughen.methods import Terms
from toughen.reading.files import read_csv, readable
from toughen.reading.schema import UnfitError
from toughen.run.manifest import check, recorded

Row = dict[str, float]
"""An epoch's figures by name."""
COUNTS = ("epoch", "step")
"""The columns that are whole numbers."""


class Observer(Protocol):
    """Somebody who watches a run, such as a progress bar."""

    def read(self, images: Mapping[Split, ImageSet]) -> None:
        """Called when the images of the run, by split, were read and found sound."""

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        """Called when the loop begins, at this step of the whole run."""

    def stepped(self, step: int) -> None:
        """Called when another step of the whole run is done."""

    def epoch_ended(self, row: Row) -> None:
        """Called when an epoch is done, with its figures."""

    def finished(self) -> None:
        """Called when the loop has ended, also by an error."""


class Silent:
    """An observer that does nothing."""

    def read(self, images: Mapping[Split, ImageSet]) -> None:
        """Do nothing."""

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        """Do nothing."""

    def stepped(self, step: int) -> None:
        """Do nothing."""

    def epoch_ended(self, row: Row) -> None:
        """Do nothing."""

    def finished(self) -> None:
        """Do nothing."""


class EpochSums:
    """Running means of the loss terms over an epoch, without a host synchronisation in any step.

    Also remembers, on the device, the first step at which each term was not finite.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.bad: dict[str, Tensor] = {}
        self.images = 0

    def add(self, terms: Terms, images: int, step: int) -> None:
        """Take in one step's terms."""
        self.images += images
        for name, term in terms.items():
            value = term.values.detach().mean().float()
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value)
                self.bad[name] = torch.full_like(value, -1)
            first = ~torch.isfinite(value) & (self.bad[name] < 0)
            self.bad[name] = torch.where(first, torch.full_like(value, step), self.bad[name])
            self.sums[name] += value * images

    def means(self, over_processes: Callable[[Tensor], Tensor] = lambda means: means) -> Row:
        """Mean of every term over the images seen; `over_processes` averages over those of other processes too."""
        if not self.sums:
            return {}
        means = over_processes(torch.stack(list(self.sums.values())) / max(1, self.images))
        return {f"loss/{name}": mean for name, mean in zip(self.sums, means.tolist(), strict=True)}

    def bad_term(self) -> str | None:
        """The first step, and the term, at which a term was not finite, in words; None where all were."""
        bad = [(int(step.item()), name) for name, step in self.bad.items() if step.item() >= 0]
        step, name = min(bad, default=(0, ""))
        return f"loss term '{name}' became NaN or infinite at step {step}" if bad else None

    def state_dict(self) -> dict[str, object]:
        """State for a checkpoint within an epoch, on the CPU."""
        sums, bad = ({name: value.cpu() for name, value in each.items()} for each in (self.sums, self.bad))
        return {"sums": sums, "bad": bad, "images": self.images}

    def load_state_dict(self, state: dict[str, object], device: torch.device) -> None:
        """Restore the state from a checkpoint."""
        sums, bad, images = state["sums"], state["bad"], state["images"]
        if not (isinstance(sums, dict) and isinstance(bad, dict) and isinstance(images, int)):
            raise TypeError("sums of an epoch of another kind")
        self.sums = {name: value.to(device) for name, value in sums.items()}
        self.bad = {name: value.to(device) for name, value in bad.items()}
        self.images = images


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write metrics.csv.

    Raises:
        RunError: the disk cannot be written.
    """
    names = list(dict.fromkeys(name for each in rows for name in each))
    with recorded(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: int(x) if name in COUNTS else x for name, x in row.items()} for row in rows)


def read_rows(path: Path) -> list[Row]:
    """The rows of metrics.csv as numbers; none where there is no file.

    Raises:
        RunError: it is damaged.
    """
    if not path.exists():
        return []
    advice = f"make it again with `toughen train --resume {path.parent}`"
    check(path, advice)
    with readable(path, advice):
        rows = read_csv(path)
        if not all(math.isfinite(row.get("epoch", math.nan)) for row in rows):
            raise UnfitError("expected an epoch in every row")
        return rows
