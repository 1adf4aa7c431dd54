"""How small a perturbation breaks each image?"""

from functools import partial

import torch
from torch import Tensor

from toughen.analysis.explanation import Explained, Figure, Picture, interval_text, resampled
from toughen.attacks.smallest import smallest_perturbations

_SHARES = {"10": 0.1, "median": 0.5, "90": 0.9}


def perturbation_sizes(explained: Explained) -> Tensor:
    """The smallest perturbation that is found for each image, in radii of the threat model, (N,), on the CPU."""
    generator = torch.Generator(explained.images.device).manual_seed(explained.seed)
    found = [
        smallest_perturbations(explained.model, images, labels, explained.threat, generator, known=perturbed)
        for images, perturbed, labels in explained.batches()
    ]
    return torch.cat(found).cpu() / explained.threat.radius


def figures_of_sizes(sizes: Tensor, generator: torch.Generator) -> dict[str, Figure]:
    """Quantiles with intervals over images: of the images such a share is broken by no more."""
    return {
        f"smallest_{name}": resampled(
            partial(_quantile, sizes, share),
            len(sizes),
            f"smallest perturbation that breaks {share:.0%} of the images, 1 is eps",
            generator,
            "high",
        )
        for name, share in _SHARES.items()
    }


def picture_of_sizes(sizes: Tensor, figures: dict[str, Figure]) -> Picture:
    """Their histogram; what lies beyond five radii is drawn there."""
    median = figures["smallest_median"]
    sees = f"Half of the images are broken by {interval_text(median)} of eps or less; 0 is misclassified as it is."
    shown = {"images": sizes.clamp(max=5).tolist()}
    return Picture("histogram", "Smallest perturbations", sees, shown, ("size, 1 is eps", "images"))


def _quantile(sizes: Tensor, share: float, places: Tensor) -> float:
    return float(torch.quantile(sizes[places], share, interpolation="lower"))
