"""How much each setting of a sweep matters."""

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.axes import Axes

from toughen.reports.svg import CLEAN, INK, draw
from toughen.reports.text import percent


def importance_plot(shares: Mapping[str, float], name: str) -> Markup:
    """A bar a setting, the most important first.

    Args:
        shares: of the variance of the robust accuracy, by setting, each 0 to 1.
        name: unique in the page.
    """
    label = "Importance of the settings: " + "; ".join(f"{key} {percent(share)}" for key, share in shares.items())

    def paint(axes: Axes) -> None:
        axes.barh(range(len(shares)), [100 * share for share in shares.values()], height=0.5, color=CLEAN, alpha=0.6)
        axes.set_yticks(range(len(shares)), list(shares))
        for text in axes.get_yticklabels():
            text.set(color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), xlabel="share of the variance, %")
        axes.spines["left"].set_visible(False)

    return draw(name, label, (310, 62 + 30 * len(shares)), paint)
