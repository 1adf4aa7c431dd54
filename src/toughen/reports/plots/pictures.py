"""What explanations ask to be drawn, each kind once."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from toughen.analysis.explanation import Picture
from toughen.reports.svg import INK, MUTED, SERIES, draw

_FEW = 8
"""Cells of a grid are labelled with their numbers where rows and columns are at most so many."""


def picture_plot(picture: Picture, name: str) -> Markup:
    """The drawing of a picture of any kind but images.

    Args:
        picture: what is drawn.
        name: unique in the page.
    """
    paint, size = _PAINTERS[picture.kind]
    return draw(name, f"{picture.title}: {picture.sees}", size(picture.data), lambda axes: paint(axes, picture))


def limits_of(pictures: Sequence[Picture]) -> tuple[float, float] | None:
    """Between which values the same picture of several networks lies, so that one scale serves all of them."""
    kind, data = pictures[0].kind, [each.data for each in pictures]
    if kind == "grid" and not any("range" in each for each in data):
        groups = [row for each in data for row in each["values"]]
    elif kind == "lines":
        groups = [line for each in data for line in each["y"].values()]
    elif kind == "histogram":
        groups = [values for each in data for values in each.values()]
    else:
        return None
    values = np.concatenate([np.asarray(each, dtype=float) for each in groups])
    return _range(values[np.isfinite(values)])


def series_of(picture: Picture) -> list[dict[str, str]]:
    """Name and colour variable of what a legend must tell apart; empty for a grid."""
    names: list[str] = []
    if picture.kind == "lines":
        names = list(picture.data["y"])
    if picture.kind == "histogram":
        names = list(picture.data)
    return [{"name": each, "color": f"var(--series-{place % len(SERIES) + 1})"} for place, each in enumerate(names)]


def _lines(axes: Axes, picture: Picture) -> None:
    x = picture.data["x"]
    for place, values in enumerate(picture.data["y"].values()):
        axes.plot(x, values, color=SERIES[place % len(SERIES)], marker="o", markersize=4 if len(x) < 8 else 0)
    if all(float(each).is_integer() for each in x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if picture.limits is not None:
        room = 0.05 * (picture.limits[1] - picture.limits[0])
        axes.set_ylim(picture.limits[0] - room, picture.limits[1] + room)
    axes.set(xlabel=picture.axes[0], ylabel=picture.axes[1])


def _histogram(axes: Axes, picture: Picture) -> None:
    groups = [np.asarray(values, dtype=float) for values in picture.data.values()]
    everything = np.concatenate(groups)
    everything = everything[np.isfinite(everything)]
    edges = np.linspace(*(picture.limits or _range(everything)), 31).tolist()
    for place, values in enumerate(groups):
        axes.hist(values, edges, histtype="stepfilled", alpha=0.35, color=SERIES[place % len(SERIES)])
        axes.hist(values, edges, histtype="step", linewidth=1.4, color=SERIES[place % len(SERIES)])
    axes.set(xlabel=picture.axes[0], ylabel=picture.axes[1])


def _grid(axes: Axes, picture: Picture) -> None:
    values = np.asarray(picture.data["values"], dtype=float)
    rows, columns = picture.data["rows"], picture.data["columns"]
    low, high = picture.data.get("range") or picture.limits or _range(values[np.isfinite(values)])
    # Between the page's two colours through nothing, where the range has both signs; else from nothing up. The colours
    # stand for variables of the page, so they cannot be mixed here: opacity says how much.
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if not math.isfinite(value):
                continue
            share = abs(value) / max(abs(low), abs(high)) if low < 0 else (value - low) / ((high - low) or 1)
            color = SERIES[1] if value < 0 else SERIES[0]
            axes.add_patch(_cell(column, row, color, float(np.clip(share, 0, 1))))
            if max(values.shape) <= _FEW:
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=INK)
    axes.set_xlim(-0.5, values.shape[1] - 0.5)
    axes.set_ylim(values.shape[0] - 0.5, -0.5)
    axes.grid(visible=False)
    for places, names, put in ((columns, columns, axes.set_xticks), (rows, rows, axes.set_yticks)):
        step = max(1, len(places) // 12)
        put(range(0, len(names), step), [_shortened(str(name)) for name in names[::step]])
    if max(map(len, map(str, columns))) > 5 and len(columns) > 1:
        axes.tick_params(axis="x", rotation=35)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel=picture.axes[0], ylabel=picture.axes[1])


def _shortened(name: str, most: int = 24) -> str:
    """A name that leaves room for the plot; of a long one both ends, for paths and numbers differ at either."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"


def _cell(column: int, row: int, color: str, share: float) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=0.05 + 0.75 * share, linewidth=0)


def _points(axes: Axes, picture: Picture) -> None:
    x, y, labels = (np.asarray(picture.data[name]) for name in ("x", "y", "label"))
    for label in np.unique(labels):
        chosen = labels == label
        axes.scatter(
            x[chosen],
            y[chosen],
            s=9,
            alpha=0.55,
            linewidths=0,
            color=SERIES[int(label) % len(SERIES)],
            marker="os^Dvp"[int(label) // len(SERIES) % 6],
        )
        axes.text(x[chosen].mean(), y[chosen].mean(), str(picture.data["names"][int(label)]), color=INK, ha="center")
    axes.set(xlabel=picture.axes[0], ylabel=picture.axes[1])
    axes.tick_params(labelcolor=MUTED)


def _range(values: Any) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _fixed(_: Mapping[str, Any]) -> tuple[float, float]:
    return 320, 220


def _by_cells(data: Mapping[str, Any]) -> tuple[float, float]:
    return 300, min(280, 80 + 22 * len(data["rows"]))


_PAINTERS: dict[str, tuple[Callable[[Axes, Picture], None], Callable[[Mapping[str, Any]], tuple[float, float]]]] = {
    "lines": (_lines, _fixed),
    "histogram": (_histogram, _fixed),
    "grid": (_grid, _by_cells),
    "points": (_points, _fixed),
}
