"""Clean against robust accuracy of several runs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from toughen.reports.plots.discs import discs
from toughen.reports.svg import ATTACKED, CLEAN, draw
from toughen.reports.text import percent


def clean_robust_plot(runs: Sequence[Mapping[str, Any]], name: str, ahead: Collection[int] = (0,)) -> Markup:
    """Clean against robust accuracy, a numbered point a run with its intervals as a cross, or a dot in a cluster.

    Args:
        runs: one each, in the order of their rank: name, clean and robust, each with accuracy and interval.
        name: unique in the page.
        ahead: the places of the runs that stand out; the first one where nothing is said.
    """
    label = "Clean and robust accuracy: " + "; ".join(
        f"{rank}. {run['name']} {percent(run['clean']['accuracy'])} and {percent(run['robust']['accuracy'])}"
        for rank, run in enumerate(runs, 1)
    )

    def paint(axes: Axes) -> None:
        points = [(100 * run["clean"]["accuracy"], 100 * run["robust"]["accuracy"]) for run in runs]
        ends = [
            [100 * run["clean"]["interval"][end], 100 * run["robust"]["interval"][end]]
            for run in runs
            for end in (0, 1)
        ]
        for place in discs(axes, points, ahead, ends):
            (x, x_error), (y, y_error) = (_cross(runs[place][key]) for key in ("clean", "robust"))
            color = ATTACKED if place in ahead else CLEAN
            axes.errorbar(
                x, y, xerr=x_error, yerr=y_error, color=color, capsize=2.5, linewidth=1.2, alpha=0.75, zorder=1
            )
        axes.set(xlabel="clean accuracy, %", ylabel="robust accuracy, %")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))

    return draw(name, label, (310, 225), paint)


def _cross(figure: Mapping[str, Any]) -> tuple[float, list[list[float]]]:
    middle = 100 * figure["accuracy"]
    low, high = (100 * bound for bound in figure["interval"])
    return middle, [[max(0, middle - low)], [max(0, high - middle)]]
