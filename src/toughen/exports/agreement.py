"""An exported file against the network that it was made from, on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from toughen.errors import RunError
from toughen.exports.formats import Form
from toughen.models.inference import NO_PREDICTION

ROUNDED = 1e-3
"""Logits that differ by less, as a share of the largest one, are the same but for rounding."""


@dataclass(frozen=True)
class Shown:
    """Images that both are shown.

    Attributes:
        name: what they are, such as "clean".
        images: N x C x H x W, in [0, 1].
        labels: int64, (N,); None where they are not known.
        recorded: the predictions that an evaluation has recorded, int64, (N,); None where it has none.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    recorded: Tensor | None = None


@dataclass(frozen=True)
class Same:
    """How far the file and the network agree on some images.

    Attributes:
        name: what they are.
        n: how many.
        predictions: for how many both predict the same class.
        verdicts: for how many both are right or both wrong; None without labels.
        recorded: for how many the file predicts what the evaluation has recorded; None without a record.
    """

    name: str
    n: int
    predictions: int
    verdicts: int | None = None
    recorded: int | None = None

    def __str__(self) -> str:
        text = f"{self.predictions:,} of {self.n:,} {self.name}"
        counts = {"verdicts": self.verdicts, "as recorded": self.recorded}
        others = [f"{count:,} {what}" for what, count in counts.items() if count is not None and count < self.n]
        return f"{text} ({', '.join(others)})" if others else text

    @property
    def all(self) -> bool:
        """Whether nothing differs."""
        return all(count in (None, self.n) for count in (self.predictions, self.verdicts, self.recorded))


@dataclass(frozen=True)
class Agreement:
    """What came of it.

    Attributes:
        runtime: what ran the file.
        same: for each kind of images.
        difference: the largest between two logits.
        scale: the largest logit's size, or 1.
    """

    runtime: str
    same: tuple[Same, ...]
    difference: float
    scale: float

    @property
    def rounded(self) -> bool:
        """Whether the logits are the same but for rounding."""
        return self.difference <= ROUNDED * self.scale

    @property
    def agrees(self) -> bool:
        """Whether every prediction and verdict is the network's, and those that were recorded."""
        return all(each.all for each in self.same)

    @property
    def turned(self) -> bool:
        """Whether the file predicts anything else than the network does here and now."""
        return any(each.predictions < each.n for each in self.same)

    def __str__(self) -> str:
        images = ", ".join(map(str, self.same))
        return (
            f"{self.runtime}: the same predictions for {images} images; logits differ by at most {self.difference:.1g}"
        )


def compare_file(path: Path, form: Form, network: nn.Module, shown: Sequence[Shown]) -> Agreement:
    """Show the images to the file, in its own runtime, and to the network.

    Raises:
        RunError: the file's logits differ by more than rounding, or it cannot be run.
    """
    images = torch.cat([each.images for each in shown])
    with torch.no_grad():
        wanted = torch.cat([network(part) for part in images.split(64)])
    found = form.logits(path, images)
    if found.shape != wanted.shape:
        raise RunError(
            f"the exported file gives logits of shape {tuple(found.shape)}, the network {tuple(wanted.shape)}"
        )
    missing = wanted.isnan() & found.isnan()
    difference = float((wanted - found)[~missing].abs().nan_to_num(torch.inf).amax()) if not missing.all() else 0.0
    scale = max(1.0, float(wanted.abs().nan_to_num(0, 0, 0).amax()))
    sizes = [len(each.images) for each in shown]
    parts = zip(shown, _predicted(wanted).split(sizes), _predicted(found).split(sizes), strict=True)
    check = Agreement(form.runtime(), tuple(_same(*each) for each in parts), difference, scale)
    if not check.rounded:
        raise RunError(f"the exported file is another network: {check}; nothing was kept; export another format")
    return check


def _same(shown: Shown, wanted: Tensor, found: Tensor) -> Same:
    verdicts = recorded = None
    if shown.labels is not None:
        verdicts = int(((wanted == shown.labels) == (found == shown.labels)).sum())
    if shown.recorded is not None:
        recorded = int((found == shown.recorded).sum())
    return Same(shown.name, len(shown.images), int((wanted == found).sum()), verdicts, recorded)


def _predicted(logits: Tensor) -> Tensor:
    return torch.where(logits.isnan().any(dim=1), NO_PREDICTION, logits.argmax(dim=1))
