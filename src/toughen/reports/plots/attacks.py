"""Accuracy under each attack."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from toughen.reports.svg import ATTACKED, CLEAN, INK, draw
from toughen.reports.text import attack_title, interval, percent


def attack_plot(figures: Mapping[str, Mapping[str, Any]], name: str) -> Markup:
    """Accuracy under each attack as a bar with its interval, the clean one first.

    Args:
        figures: accuracy and interval of each attack, by its name.
        name: unique in the page.
    """
    titles = [attack_title(attack) for attack in figures]
    label = "Accuracy under each attack: " + "; ".join(
        f"{title} {percent(figure['accuracy'])} (95 % interval {interval(figure['interval'])})"
        for title, figure in zip(titles, figures.values(), strict=True)
    )

    def paint(axes: Axes) -> None:
        for row, (attack, figure) in enumerate(figures.items()):
            color = CLEAN if attack == "clean" else ATTACKED
            accuracy, (low, high) = 100 * figure["accuracy"], (100 * bound for bound in figure["interval"])
            axes.barh(row, accuracy, height=0.5, color=color, alpha=0.3, linewidth=0)
            axes.errorbar(
                accuracy,
                row,
                xerr=[[accuracy - low], [high - accuracy]],
                fmt="o",
                markersize=4,
                color=color,
                capsize=3,
            )
        axes.set_yticks(range(len(titles)), titles)
        for text in axes.get_yticklabels():
            text.set(color=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlim=(0, 100), xlabel="accuracy, %")
        axes.spines["left"].set_visible(False)

    return draw(name, label, (310, 62 + 30 * len(titles)), paint)
