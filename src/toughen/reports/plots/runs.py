"""Clean against robust accuracy of several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from toughen.reports.svg import ATTACKED, CLEAN, PAPER, draw
from toughen.reports.text import percent


def clean_robust_plot(runs: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Clean against robust accuracy, a numbered point a run with its intervals as a cross.

    Args:
        runs: one each, in the order of their rank: name, clean and robust, each with accuracy and interval.
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
            axes.annotate(str(rank), (x, y), ha="center", va="center_baseline", color=PAPER, weight="bold")
        axes.set(xlabel="clean accuracy, %", ylabel="robust accuracy, %")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))

    return draw(name, label, (310, 225), paint)


def _cross(figure: Mapping[str, Any]) -> tuple[float, list[list[float]]]:
    middle = 100 * figure["accuracy"]
    low, high = (100 * bound for bound in figure["interval"])
    return middle, [[max(0, middle - low)], [max(0, high - middle)]]
