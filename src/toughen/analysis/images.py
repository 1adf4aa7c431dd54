"""Which images does the network hold least, and how would the methods weigh them?"""

import math
from typing import get_args

import torch

from toughen.analysis.course import weights_course
from toughen.analysis.explanation import Explained, Explanation, Figure, Insight, Picture, interval_text, share_of
from toughen.analysis.measures.images import Weighting, effective_share, image_weights
from toughen.analysis.measures.outputs import probability_margin
from toughen.analysis.prototypes import prototypes
from toughen.analysis.sizes import figures_of_sizes, perturbation_sizes, picture_of_sizes


class HardImages(Explanation):
    """The least robust and the least typical images, the smallest perturbation each needs, and how methods weigh them.

    Least robust are those of the smallest margin under attack, least typical those farthest from the mean features of
    their class. ARoW's paper argues that more weight belongs on images that are less robust. Failures of several runs
    are compared image by image where they are analysed together. A run that was trained with `--trace weights` shows
    how its images were weighed from epoch to epoch.

    Args:
        shown: how many images are shown.
        measured: of how many images the smallest perturbation is looked for.
    """

    title = "Hard images"
    source = "Yang, Kong, Kim 2023 (ARoW); Wang et al. 2020 (MART); Croce & Hein 2020 (FAB); Snell et al. 2017"

    def __init__(self, shown: int = 8, measured: int = 200) -> None:
        self.shown, self.measured = shown, measured

    def passes(self, images: int) -> float:
        """FAB's 20 steps to each of 3 classes, and its checks."""
        return 2.0 * images + min(images, self.measured) * 310.0

    def explain(self, explained: Explained) -> Insight | None:
        """Margins, weights, and the images themselves."""
        clean, perturbed = explained.logits()
        labels = explained.labels.cpu()
        margins = probability_margin(perturbed, labels)
        weights = {
            name: image_weights(clean, perturbed, labels, name) for name in get_args(Weighting) if name != "uniform"
        }
        failed = margins < 0
        figures = {"failed": share_of(failed, "images that the attack breaks", "low")}
        for name, each in weights.items():
            figures[f"weight_on_failures_{name}"] = Figure(
                float(each[failed].sum() / each.sum()), f"share of {name}'s weight on broken images", n=len(each)
            )
            figures[f"effective_share_{name}"] = Figure(
                effective_share(each), f"share of images that {name}'s weighted mean counts", n=len(each)
            )
        sizes = perturbation_sizes(explained.first(self.measured))
        figures |= figures_of_sizes(sizes, explained.generator())
        typical, portraits, distances = prototypes(explained, failed)
        figures |= typical
        own = None if explained.training is None else explained.training.method.weighting
        order = margins.argsort()
        rows = {
            "least robust": explained.images[order[: self.shown]].cpu(),
            "under attack": explained.perturbed[order[: self.shown]].cpu(),
            "most robust": explained.images[order.flip(0)[: self.shown]].cpu(),
        }
        sentence = (
            f"The attack breaks {interval_text(figures['failed'])} of the images, and half of them need no more than "
            f"{interval_text(figures['smallest_median'])} of eps to be broken; of ARoW's weight "
            f"{figures['weight_on_failures_arow'].value:.1%} lies on those that it breaks, of MART's "
            f"{figures['weight_on_failures_mart'].value:.1%}."
        )
        sees = "By the margin of the true class under attack, the smallest first, and what the attack makes of them."
        pictures = [
            Picture("images", "Least and most robust images", sees, {"rows": rows}),
            *portraits,
            picture_of_sizes(sizes, figures),
            Picture(
                "histogram",
                "Weights of the images",
                "Images at 1 count as in a plain mean; far to the right are the few that a method looks at most.",
                {name: each.tolist() for name, each in weights.items()},
                ("weight, mean 1", "images"),
            ),
            *weights_course(explained.record, own),
        ]
        unmeasured = [math.nan] * (len(margins) - len(sizes))
        arrays = {"margin": margins.tolist(), "failed": failed.tolist(), "smallest": sizes.tolist() + unmeasured} | {
            f"weight_{name}": each.tolist() for name, each in weights.items()
        }
        if distances:
            arrays["prototype_distance"] = distances
        return Insight(sentence, figures, pictures, arrays)


def failures(explained: Explained) -> torch.Tensor:
    """Which images are misclassified under attack, bool (N,)."""
    return explained.over_batches(
        lambda images, perturbed, labels: explained.model(perturbed).argmax(1) != labels
    ).bool()
