"""The plots of the pages, as inline SVG."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from toughen.reports.svg import ATTACKED, CLEAN, INK, PAPER, SERIES, draw
from toughen.reports.text import attack_title, interval, percent

DASHES = ("solid", "dashed", "dotted")


def attack_plot(figures: Mapping[str, Mapping[str, Any]], name: str) -> Markup:
    """Accuracy under each attack as a bar with its interval, the clean one first.

    Args:
        figures: by attack: accuracy and interval.
        name: unique in the page.
    """
    titles = [attack_title(attack) for attack in figures]
    label = "Accuracy under each attack: " + "; ".join(
        f"{title} {percent(figure['accuracy'])} (95 % interval {interval(figure['interval'])})"
        for title, figure in zip(titles, figures.values(), strict=True)
    )

    def paint(axes: Axes) -> None:
        for row, (attack, figure) in enumerate(figures.items()):
            color = CLEAN if attack == "clean" else ATTACKED
            accuracy, (low, high) = 100 * figure["accuracy"], (100 * bound for bound in figure["interval"])
            axes.barh(row, accuracy, height=0.5, color=color, alpha=0.3, linewidth=0)
            axes.errorbar(
                accuracy,
                row,
                xerr=[[accuracy - low], [high - accuracy]],
                fmt="o",
                markersize=4,
                color=color,
                capsize=3,
            )
        axes.set_yticks(range(len(titles)), titles)
        for text in axes.get_yticklabels():
            text.set(color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), xlabel="accuracy, %")
        axes.spines["left"].set_visible(False)

    return draw(name, label, (350, 62 + 30 * len(titles)), paint)


def line_plot(
    epochs: Sequence[float], series: Mapping[str, Sequence[float]], *, name: str, title: str, unit: str = ""
) -> Markup:
    """One line a series over the epochs; the page's legend names them (see `legend`).

    The y axis is logarithmic where the series are positive and their middles lie a factor of 20 apart.

    Args:
        epochs: the x values.
        series: y values by name; NaN where nothing was measured.
        name: unique in the page.
        title: what is shown, for readers who cannot see it.
        unit: of the y axis; "%" turns shares into per cent.
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


def clean_robust_plot(runs: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Clean against robust accuracy, a numbered point a run with its intervals as a cross.

    Args:
        runs: in the order of their rank: name, clean and robust, each with accuracy and interval.
        name: unique in the page.
    """
    label = "Clean and robust accuracy: " + "; ".join(
        f"{rank}. {run['name']} {percent(run['clean']['accuracy'])} and {percent(run['robust']['accuracy'])}"
        for rank, run in enumerate(runs, 1)
    )

    def paint(axes: Axes) -> None:
        for rank, run in reversed(list(enumerate(runs, 1))):
            color = ATTACKED if rank == 1 else CLEAN
            (x, x_error), (y, y_error) = (_cross(run[key]) for key in ("clean", "robust"))
            axes.errorbar(x, y, xerr=x_error, yerr=y_error, color=color, capsize=2.5, linewidth=1.2, alpha=0.75)
            axes.plot(x, y, "o", markersize=13, color=color, markeredgecolor=PAPER, markeredgewidth=1)
            axes.annotate(str(rank), (x, y), ha="center", va="center_baseline", color=PAPER, fontsize=9, weight="bold")
        axes.set(xlabel="clean accuracy, %", ylabel="robust accuracy, %")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))

    return draw(name, label, (310, 225), paint)


def _cross(figure: Mapping[str, Any]) -> tuple[float, list[list[float]]]:
    middle = 100 * figure["accuracy"]
    low, high = (100 * bound for bound in figure["interval"])
    return middle, [[max(0, middle - low)], [max(0, high - middle)]]


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
