"""Which images are typical of their class, as the network sees it, and which are not?"""

import torch

from toughen.analysis.explanation import Explained, Figure, Picture, interval_text, share_of
from toughen.analysis.features import features_of
from toughen.analysis.measures.features import prototype_distances

CLASSES = 12
"""Of so many classes images are shown."""
PART = 4
"""The most and the least typical part of the images is one in so many."""


def prototypes(explained: Explained, failed: torch.Tensor) -> tuple[dict[str, Figure], list[Picture], list[float]]:
    """How often typical images and outliers are broken, one of each a class, and each image's distance.

    Args:
        explained: the network and its images.
        failed: which of them the attack breaks, bool (N,).

    Returns:
        tuple: figures, pictures and distances; all empty where the network has no features to look at.
    """
    found = features_of(explained)
    if found is None:
        return {}, [], []
    labels, distances = explained.labels.cpu(), prototype_distances(found[0], explained.labels.cpu())
    order = distances.argsort(stable=True)
    some = max(1, len(order) // PART)
    says = f"images that the attack breaks, of the quarter {{}} the mean features of their classes ({some} images)"
    figures = {
        "typical_broken": share_of(failed[order[:some]], says.format("nearest to"), "low", over="chosen images"),
        "outliers_broken": share_of(failed[order[-some:]], says.format("farthest from"), "low", over="chosen images"),
    }
    of_class = [order[labels[order] == label] for label in labels.unique()[:CLASSES]]
    rows = {
        "most typical": explained.images[torch.stack([each[0] for each in of_class])].cpu(),
        "least typical": explained.images[torch.stack([each[-1] for each in of_class])].cpu(),
    }
    sees = (
        f"For each class the image nearest to the class's mean features and the one farthest from it; the attack "
        f"breaks {interval_text(figures['typical_broken'])} of the nearest quarter of all images and "
        f"{interval_text(figures['outliers_broken'])} of the farthest."
    )
    return figures, [Picture("images", "Prototypes and outliers", sees, {"rows": rows})], distances.tolist()
