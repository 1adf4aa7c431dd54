"""A few images for the report, clean and under attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toughen.evaluation.verify import Clean, Outcome
from toughen.reading.schema import UnfitError
from toughen.reading.tensors import read_tensors

SIZE = 12
_EACH = 4
# A batch gives pictures while its first image is among these: the rest would only take up disk.
_FIRST = 256


@dataclass(frozen=True)
class _Picture:
    """One image as one attack left it; whether it is shown, and as what, is known only at the end."""

    place: tuple[int, int]
    values: Mapping[str, Tensor]
    broken: bool

    @property
    def confidence(self) -> float:
        return float(self.values["adversarial_confidences"])


PICTURES = {
    "clean": (torch.float32, 4),
    "adversarial": (torch.float32, 4),
    "labels": (torch.int64, 1),
    "clean_predictions": (torch.int64, 1),
    "adversarial_predictions": (torch.int64, 1),
    "clean_confidences": (torch.float32, 1),
    "adversarial_confidences": (torch.float32, 1),
}
"""Type and number of dimensions of what is kept of pictures; all have as many rows."""


def read_gallery(path: Path) -> dict[str, Tensor]:
    """What `gallery` gave.

    Raises:
        OSError: no such file.
        UnfitError: damaged, or something else.
    """
    return _checked(read_tensors(path), {**PICTURES, "kinds": (torch.int64, 1)})


def read_candidates(path: Path, images: int) -> dict[str, Tensor]:
    """What `candidates` gave of a batch of so many images; as `read_gallery`."""
    pictures = _checked(read_tensors(path), {**PICTURES, "rows": (torch.int64, 1), "held": (torch.bool, 1)})
    if not all(0 <= row < images for row in pictures["rows"].tolist()):
        raise UnfitError(f"tensor 'rows': expected rows of {images} images")
    return pictures


def _checked(found: dict[str, Tensor], expected: Mapping[str, tuple[torch.dtype, int]]) -> dict[str, Tensor]:
    for name, (dtype, dimensions) in expected.items():
        if name not in found:
            raise UnfitError(f"no tensor named {name!r}")
        came = found[name]
        if (came.dtype, came.ndim, len(came) if came.ndim else None) != (dtype, dimensions, len(found["clean"])):
            raise UnfitError(
                f"tensor {name!r}: expected {dtype} of {dimensions} dimensions, a row a picture, got {came.dtype} of "
                f"shape {tuple(came.shape)}"
            )
    if found["clean"].shape != found["adversarial"].shape or not all(found["clean"].shape[1:]):
        raise UnfitError("tensors 'clean' and 'adversarial': expected images of one size")
    return found


def candidates(position: int, clean: Clean, outcome: Outcome) -> dict[str, Tensor]:
    """Images of a batch that the report may show, by tensor; empty for late batches.

    Of those right when clean: the first four that the attack broke, the four that it broke with the highest
    confidence in a wrong class, and the first four that held although it moved them.

    Args:
        position: place of the batch's first image in the evaluation.
        clean: the batch.
        outcome: of one attack on it.
    """
    if position >= _FIRST:
        return {}
    shown = clean.right.cpu() & (outcome.norm > 0)
    broken = (shown & ~outcome.held).nonzero().squeeze(1)
    worst = broken[outcome.confidences[broken].argsort(descending=True, stable=True)[:_EACH]]
    held = (shown & outcome.held).nonzero().squeeze(1)[:_EACH]
    rows = torch.cat([broken[:_EACH], worst, held]).unique()
    if not len(rows):
        return {}
    here = rows.to(clean.right.device)
    return {
        "rows": rows,
        "held": outcome.held[rows],
        "clean": clean.batch.images[here].cpu(),
        "adversarial": outcome.adversarial[rows].contiguous(),
        "labels": clean.batch.labels[here].cpu(),
        "clean_predictions": clean.predictions[here].cpu(),
        "adversarial_predictions": outcome.predictions[rows],
        "clean_confidences": clean.confidences[here].cpu(),
        "adversarial_confidences": outcome.confidences[rows],
    }


def gallery(
    batches: Sequence[Sequence[Mapping[str, Tensor]]], robust: Sequence[NDArray[np.bool_]]
) -> dict[str, Tensor]:
    """At most 12 pictures: the worst broken ones, typical broken ones, held ones, as far as there are any.

    A broken image is shown as the last attack that broke it left it, a held one as the last attack that moved it did.
    The four worst are those with the highest confidence in a wrong class; typical are the first ones in
    the order of the evaluation (drawn by class unless asked otherwise), four or as many as there is room; held at least
    four where there are so many.

    Args:
        batches: for each batch the `candidates` of every attack, in order.
        robust: for each batch, which images held under all of them.

    Returns:
        dict[str, Tensor]: `clean` and `adversarial` (n x C x H x W, fp32, in [0, 1]); `labels`, `clean_predictions`
        and `adversarial_predictions` (int64, (n,)); `clean_confidences` and `adversarial_confidences` (fp32, (n,),
        softmax probability of the prediction); `kinds` (int64, (n,): 0 worst, 1 typical, 2 held). Empty where no
        attack moved an image that is right when clean.
    """
    last: dict[tuple[int, int], _Picture] = {}
    for number, attacks in enumerate(batches):
        for tensors in attacks:
            for picture in _pictures(number, tensors):
                # An image that another attack broke is not to be shown as one that held.
                if picture.broken or robust[number][picture.place[1]]:
                    last[picture.place] = picture
    ordered = [last[place] for place in sorted(last)]
    broken, held = [p for p in ordered if p.broken], [p for p in ordered if not p.broken]
    room = max(2 * _EACH, SIZE - len(held))
    worst = sorted(broken, key=lambda picture: -picture.confidence)[: min(_EACH, room)]
    chosen = {picture.place for picture in worst}
    typical = [picture for picture in broken if picture.place not in chosen][: room - len(worst)]
    held = held[: SIZE - len(worst) - len(typical)]
    pictures = [*worst, *typical, *held]
    if not pictures:
        return {}
    kinds = [0] * len(worst) + [1] * len(typical) + [2] * len(held)
    return {
        **{name: torch.stack([picture.values[name] for picture in pictures]) for name in pictures[0].values},
        "kinds": torch.tensor(kinds),
    }


def _pictures(number: int, tensors: Mapping[str, Tensor]) -> list[_Picture]:
    if not tensors:
        return []
    names = [name for name in tensors if name not in ("rows", "held")]
    return [
        _Picture((number, row), {name: tensors[name][i] for name in names}, not held)
        for i, (row, held) in enumerate(zip(tensors["rows"].tolist(), tensors["held"].tolist(), strict=True))
    ]
