"""Reliability: how often a model is right at each confidence."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from toughen.reports.svg import ATTACKED, CLEAN, MUTED, draw
from toughen.reports.text import percent

LOOKS = ((CLEAN, "solid", "o"), (ATTACKED, "dashed", "s"))


def reliability_plot(curves: Mapping[str, Sequence[Mapping[str, Any]]], name: str) -> Markup:
    """Accuracy against mean confidence in each bin, with its interval; on the diagonal lies perfect calibration.

    Args:
        curves: at most two lists of bins by ascending confidence: confidence, accuracy and interval.
        name: unique in the page.
    """
    label = "Accuracy against confidence: " + "; ".join(
        f"{key}: " + ", ".join(f"{percent(bin['confidence'])} sure, {percent(bin['accuracy'])} right" for bin in bins)
        for key, bins in curves.items()
    )

    def paint(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="dotted")
        for bins, (color, dash, marker) in zip(curves.values(), LOOKS, strict=False):
            x, y = ([100 * bin[key] for bin in bins] for key in ("confidence", "accuracy"))
            low, high = ([100 * bin["interval"][end] for bin in bins] for end in (0, 1))
            axes.vlines(x, low, high, color=color, linewidth=1.2, alpha=0.6)
            axes.plot(x, y, color=color, linestyle=dash, marker=marker, markersize=4.5)
        axes.set(xlim=(0, 102), ylim=(-2, 102), xlabel="confidence, %", ylabel="accuracy, %")

    return draw(name, label, (310, 260), paint)
