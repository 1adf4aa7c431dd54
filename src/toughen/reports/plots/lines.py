"""Lines over the epochs of a training run."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from toughen.reports.svg import SERIES, draw
from toughen.reports.text import percent

DASHES = ("solid", "dashed", "dotted")


def line_plot(
    epochs: Sequence[float], series: Mapping[str, Sequence[float]], *, name: str, title: str, unit: str = ""
) -> Markup:
    """One line a series over the epochs; the page's legend names them (see `legend`).

    The y axis is logarithmic where the series are positive and their middles lie a factor of 20 apart.

    Args:
        epochs: the x values.
        series: y values by name; NaN where nothing was measured.
        name: unique in the page.
        title: description of the plot, for readers who cannot see it.
        unit: name of the y axis' unit; "%" turns shares into per cent.
    """
    scale = 100 if unit == "%" else 1
    known = {
        key: [(x, scale * y) for x, y in zip(epochs, values, strict=True) if math.isfinite(y)]
        for key, values in series.items()
    }
    known = {key: curve for key, curve in known.items() if curve}
    logarithmic = _spread(known.values()) > 20

    def paint(axes: Axes) -> None:
        for key, color, dash in _looks(series):
            if key in known:
                x, y = zip(*known[key], strict=True)
                axes.plot(x, y, color=color, linestyle=dash, marker="o", markersize=4 if len(x) < 8 else 0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if unit == "%":
            low, high = axes.get_ylim()
            axes.set_ylim(max(0, low), min(100, high))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))

    ends = "; ".join(f"{key} from {c[0][1]:.4g}{unit} to {c[-1][1]:.4g}{unit}" for key, c in known.items())
    axis = " (logarithmic axis)" if logarithmic else ""
    return draw(name, f"{title} over {len(epochs)} epochs{axis}: {ends}", (300, 190), paint)


def legend(series: Mapping[str, Sequence[float]], unit: str = "") -> list[dict[str, str]]:
    """Name, colour variable, border style and last value of each line of `line_plot`, for the page."""
    entries = []
    for key, color, dash in _looks(series):
        last = next((y for y in reversed(series[key]) if math.isfinite(y)), math.nan)
        value = "" if math.isnan(last) else percent(last) if unit == "%" else f"{last:.3g}"
        entries.append({"name": key, "color": f"var(--series-{SERIES.index(color) + 1})", "dash": dash, "value": value})
    return entries


def _looks(series: Mapping[str, Sequence[float]]) -> list[tuple[str, str, str]]:
    """A colour and, once the colours are used up, another dash for each series."""
    looks = [(color, dash) for dash in DASHES for color in SERIES]
    return [(key, *look) for key, look in zip(series, cycle(looks), strict=False)]


def _spread(curves: Any) -> float:
    """Ratio of the largest to the smallest median; 1 where a value is not positive."""
    middles = []
    for curve in curves:
        values = sorted(y for _, y in curve)
        if values[0] <= 0:
            return 1.0
        middles.append(values[len(values) // 2])
    return max(middles) / min(middles) if middles else 1.0
