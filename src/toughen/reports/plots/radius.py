"""The radius that a model was evaluated for, marked in a plot whose x axis it lies on."""

from matplotlib.axes import Axes

from toughen.numbers import as_text
from toughen.reports.svg import MUTED


def mark_radius(axes: Axes, eps: float, end: float) -> None:
    """A dashed line with its name, which stands where there is room; `end` is where the x axis ends."""
    axes.axvline(eps, color=MUTED, linestyle="dashed", linewidth=1.2)
    late = eps > 0.6 * end
    axes.annotate(
        f"evaluated: {as_text(eps)}",
        (eps, axes.get_ylim()[1]),
        xytext=(-4 if late else 4, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        color=MUTED,
    )
