"""Accuracy against the attack's radius."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from toughen.numbers import as_text
from toughen.reports.plots.radius import mark_radius
from toughen.reports.svg import ATTACKED, draw
from toughen.reports.text import interval, percent


def curve_plot(points: Sequence[Mapping[str, Any]], eps: float, norm: str, name: str) -> Markup:
    """Accuracy at each radius, joined by straight lines, in the band of their intervals.

    Args:
        points: eps, accuracy and interval of each, by ascending radius.
        eps: the radius that the model was evaluated for; a dashed line marks it.
        norm: the one that the radius is measured in.
        name: unique in the page.
    """
    label = f"Accuracy against the {norm} radius of the attack: " + "; ".join(
        f"{as_text(point['eps'])}: {percent(point['accuracy'])} (95 % interval {interval(point['interval'])})"
        for point in points
    )

    def paint(axes: Axes) -> None:
        x = [point["eps"] for point in points]
        low, high = ([100 * point["interval"][end] for point in points] for end in (0, 1))
        axes.fill_between(x, low, high, color=ATTACKED, alpha=0.2, linewidth=0)
        axes.plot(x, [100 * point["accuracy"] for point in points], color=ATTACKED, marker="o", markersize=4)
        ticks = x[:: -(-len(x) // _MOST_TICKS)]
        axes.set_xticks(ticks, [as_text(tick) for tick in ticks])
        axes.set(xlim=(0, max(x)), ylim=(0, 100), xlabel=f"radius, {norm}", ylabel="accuracy, %")
        if eps <= max(x):
            mark_radius(axes, eps, max(x))

    return draw(name, label, (310, 230), paint)


_MOST_TICKS = 6
