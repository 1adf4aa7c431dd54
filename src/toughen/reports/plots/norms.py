"""The smallest perturbation that is enough for each image."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from toughen.numbers import as_text
from toughen.reports.plots.radius import mark_radius
from toughen.reports.svg import ATTACKED, draw

BINS = 20


def norm_plot(norms: Sequence[float], eps: float, norm: str, name: str) -> Markup:
    """A histogram of the smallest perturbations that were found; a dashed line marks the radius.

    Args:
        norms: one an image, at least one of them.
        eps: the radius that the model was evaluated for.
        norm: the one that they are measured in.
        name: unique in the page.
    """
    middle = sorted(norms)[len(norms) // 2]
    label = (
        f"Histogram of the smallest {norm} perturbation of {len(norms)} images: from {min(norms):.4g} to "
        f"{max(norms):.4g}, half of them below {middle:.4g}; {sum(size <= eps for size in norms)} within the radius of "
        f"{as_text(eps)}"
    )

    def paint(axes: Axes) -> None:
        end = max(*norms, eps) * 1.02
        axes.hist(norms, bins=BINS, range=(0, end), color=ATTACKED, alpha=0.45, edgecolor=ATTACKED, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.set(xlim=(0, end), xlabel=f"smallest perturbation, {norm}", ylabel="images")
        axes.grid(visible=False, axis="x")
        mark_radius(axes, eps, end)

    return draw(name, label, (310, 210), paint)
