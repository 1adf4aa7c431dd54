"""Clean and robust accuracy of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from toughen.reports.svg import ATTACKED, CLEAN, INK, draw
from toughen.reports.text import percent

LONGEST = 14


def class_plot(rows: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Two bars a class, clean above robust, each with its interval.

    Args:
        rows: a class each, in the order of the plot: name, and as clean and robust each accuracy and interval.
        name: unique in the page.
    """
    label = "Clean and robust accuracy of each class: " + "; ".join(
        f"{row['name']} {percent(row['clean']['accuracy'])} and {percent(row['robust']['accuracy'])}" for row in rows
    )

    def paint(axes: Axes) -> None:
        for kind, color, shift, marker in (("clean", CLEAN, -0.19, "o"), ("robust", ATTACKED, 0.19, "s")):
            places = [place + shift for place in range(len(rows))]
            accuracies = [100 * row[kind]["accuracy"] for row in rows]
            low, high = ([100 * row[kind]["interval"][end] for row in rows] for end in (0, 1))
            axes.barh(places, accuracies, height=0.36, color=color, alpha=0.3, linewidth=0)
            axes.plot(accuracies, places, marker, markersize=3.5, color=color)
            axes.hlines(places, low, high, color=color, linewidth=1.4)
        axes.set_yticks(range(len(rows)), [_short(row["name"]) for row in rows])
        for text in axes.get_yticklabels():
            text.set(color=INK)
        axes.invert_yaxis()
        axes.margins(y=0.02)
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), xlabel="accuracy, %")
        axes.spines["left"].set_visible(False)

    return draw(name, label, (310, 62 + 26 * len(rows)), paint)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\u2026"
