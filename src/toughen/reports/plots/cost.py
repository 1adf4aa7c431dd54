"""Robust accuracy against the cost of training."""

from collections.abc import Collection, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from toughen.reports.plots.discs import discs
from toughen.reports.svg import ATTACKED, draw


def cost_plot(points: Sequence[tuple[float, float]], ahead: Collection[int], unit: str, name: str) -> Markup:
    """Robust accuracy against cost, a numbered point a row, or a dot; those on the Pareto front are joined by a line.

    Args:
        points: cost, above 0, and robust accuracy of each row, in the order of their rank.
        ahead: the places of those on the front.
        unit: of the cost.
        name: unique in the page.
    """
    label = f"Robust accuracy against cost ({unit}): " + "; ".join(
        f"{rank}. {100 * robust:.1f} % at {cost:.3g}" for rank, (cost, robust) in enumerate(points, 1)
    )

    def paint(axes: Axes) -> None:
        axes.set(xlabel=f"cost of a run, {unit}", ylabel="robust accuracy, %", xscale="log")
        axes.margins(0.1)
        line = sorted(points[place] for place in ahead)
        axes.plot(
            [cost for cost, _ in line], [100 * robust for _, robust in line], color=ATTACKED, linewidth=1, alpha=0.6
        )
        discs(axes, [(cost, 100 * robust) for cost, robust in points], ahead)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0e}" if max(points)[0] >= 1e5 else "{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())

    return draw(name, label, (310, 225), paint)
