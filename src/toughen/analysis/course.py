"""What a training recorded of itself (`--trace`), over its epochs, for the explanations that it belongs to."""

import math

import torch

from toughen.analysis.explanation import Figure, Picture, interval_text, mean_of
from toughen.analysis.measures.images import Weighting
from toughen.training.trace.record import Followed, Record

IMAGES, EPOCHS = 20, 30
"""Most rows and columns of the grid of images and epochs."""


def conflict_course(record: Record) -> tuple[dict[str, Figure], list[Picture]]:
    """Cosines of each pair of terms while they were trained: means over epochs, and their curves."""
    cosines = {pair: each for pair, each in record.course("cosine/").items() if "/" not in pair}
    if not cosines:
        return {}, []
    figures = {
        f"trained/cosine/{pair}": mean_of(values, f"cosine of the gradients of {pair} in training", over="epochs")
        for pair, (_, values) in cosines.items()
    }
    worst = min(cosines, key=lambda pair: figures[f"trained/cosine/{pair}"].value)
    sees = f"In training the gradients of {worst} had cosine {interval_text(figures[f'trained/cosine/{worst}'])}."
    return figures, [_lines("Cosine over the training", sees, cosines, "cosine")]


def weights_course(record: Record, own: Weighting | None) -> list[Picture]:
    """How many images each weighting counted, how much of it lay on broken ones, and single images' weights.

    Args:
        record: of the training.
        own: the weighting of the run's method; None where it has none, and the image's part of the loss is shown.
    """
    shares, on_broken = record.course("effective_share/"), record.course("on_broken/")
    pictures = []
    if shares:
        name = own if own in shares else "loss"
        first, last = shares[name][1][0], shares[name][1][-1]
        sees = f"The {_called(name)} counted {first:.0%} of the images in the first epoch and {last:.0%} in the last."
        pictures.append(_lines("Share of images that count in training", sees, shares, "effective share"))
    if on_broken:
        broken = record.course("broken")[""]
        name = own if own in on_broken else "loss"
        sees = f"In the last epoch {broken[1][-1]:.0%} of the images were broken, with {on_broken[name][1][-1]:.0%} "
        sees += f"of the {_called(name)}."
        pictures.append(_lines("Weight on broken images in training", sees, {"images": broken} | on_broken, "share"))
    if record.followed is not None:
        pictures += _single(record.followed, own or "loss")
    return pictures


def _single(followed: Followed, name: str) -> list[Picture]:
    """Epochs from left to right; from the images that counted most in all to those that counted least."""
    weights = followed.weights[name]
    seen = (~weights.isnan().all(dim=0)).nonzero().flatten()
    if not len(seen):
        return []
    order = seen[weights[:, seen].nanmean(dim=0).argsort(descending=True)]
    chosen = order[torch.linspace(0, len(order) - 1, min(IMAGES, len(order))).round().long()]
    epochs = torch.linspace(0, len(weights) - 1, min(EPOCHS, len(weights))).round().long()
    rows = [f"{int(followed.images[place])} ({int(followed.labels[place])})" for place in chosen]
    data = {"values": weights[epochs][:, chosen].T.tolist(), "rows": rows, "columns": followed.epochs[epochs].tolist()}
    sees = (
        f"The {_called(name)} of {len(chosen)} of the {len(seen)} training images that were followed, in units of the "
        f"epoch's mean: from {float(weights[:, chosen[0]].nanmean()):.2g} to "
        f"{float(weights[:, chosen[-1]].nanmean()):.2g} on average; rows are places in the training set (and classes)."
    )
    return [Picture("grid", "What single training images count", sees, data, ("epoch", ""))]


def _called(name: str) -> str:
    return "loss" if name == "loss" else f"weight of {name}"


def _lines(title: str, sees: str, courses: dict[str, tuple[list[float], list[float]]], axis: str) -> Picture:
    epochs = sorted({epoch for known, _ in courses.values() for epoch in known})
    curves = {name: dict(zip(*each, strict=True)) for name, each in courses.items()}
    y = {name: [curve.get(epoch, math.nan) for epoch in epochs] for name, curve in curves.items()}
    return Picture("lines", title, sees, {"x": epochs, "y": y}, ("epoch", axis))
