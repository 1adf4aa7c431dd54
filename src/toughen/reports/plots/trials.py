"""Clean against robust accuracy of the trials of a sweep."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from toughen.reports.svg import ATTACKED, CLEAN, PAPER, draw
from toughen.reports.text import percent
from toughen.search.records import TrialRecord


def trials_plot(trials: Sequence[TrialRecord], front: Sequence[TrialRecord], name: str) -> Markup:
    """A point a trial, those of the front numbered and joined.

    Args:
        trials: those that are complete; figures of pruned ones are of an earlier epoch.
        front: those of them that no other one beats, by falling robust accuracy.
        name: unique in the page.
    """
    label = "Clean and robust accuracy of the trials on held-out images; the front: " + "; ".join(
        f"trial {trial.number} {percent(trial.clean or 0)} and {percent(trial.robust or 0)}" for trial in front
    )

    def paint(axes: Axes) -> None:
        axes.scatter(*_places([each for each in trials if each not in front]), s=30, color=CLEAN, alpha=0.75)
        x, y = _places(front)
        axes.plot(x, y, color=ATTACKED, linewidth=1, alpha=0.6)
        for trial, clean, robust in zip(front, x, y, strict=True):
            axes.plot(clean, robust, "o", markersize=15, color=ATTACKED, markeredgecolor=PAPER)
            axes.annotate(
                str(trial.number), (clean, robust), ha="center", va="center_baseline", color=PAPER, weight="bold"
            )
        axes.set(xlabel="clean accuracy, %", ylabel="robust accuracy, %")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))
        axes.margins(0.08)

    return draw(name, label, (310, 250), paint)


def _places(trials: Sequence[TrialRecord]) -> tuple[list[float], list[float]]:
    return [100 * (each.clean or 0) for each in trials], [100 * (each.robust or 0) for each in trials]
