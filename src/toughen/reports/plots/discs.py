"""Points with the number of their rank, of which those that would hide others become dots."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes

from toughen.reports.svg import ATTACKED, CLEAN, PAPER

DISC, DOT = 14.0, 5.0
"""Diameters in points."""


def discs(
    axes: Axes, points: Sequence[tuple[float, float]], ahead: Collection[int], reach: Sequence[Sequence[float]] = ()
) -> list[int]:
    """Draw a disc with its rank at each point, and a dot where a disc would lie on one that is drawn already.

    Those of `ahead` come first, then the others in the order of their rank, so that of a cluster the best is named.

    Args:
        axes: with their scales set.
        points: where, in the order of the ranks.
        ahead: the places of the points that stand out.
        reach: other points that the axes are to show.

    Returns:
        list: the places of those with a disc.
    """
    axes.update_datalim([*points, *reach])
    axes.autoscale_view()
    assert axes.figure is not None
    places = axes.transData.transform(np.asarray(points, dtype=float)) * 72 / axes.figure.dpi
    numbered: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (place not in ahead, place)):
        if all(np.hypot(*(places[place] - places[other])) > 0.7 * DISC for other in numbered):
            numbered.append(place)
    for place in reversed(range(len(points))):
        if place not in numbered:
            color = ATTACKED if place in ahead else CLEAN
            axes.plot(*points[place], "o", markersize=DOT, color=color, markeredgecolor=PAPER, alpha=0.8)
    for place in reversed(numbered):
        color = ATTACKED if place in ahead else CLEAN
        axes.plot(*points[place], "o", markersize=DISC, color=color, markeredgecolor=PAPER)
        axes.annotate(str(place + 1), points[place], ha="center", va="center_baseline", color=PAPER, weight="bold")
    return numbered
