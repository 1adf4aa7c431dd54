"""Is the loss smooth around the images?"""

import numpy as np
import torch
from torch import Tensor

from toughen.analysis.explanation import Explained, Explanation, Insight, Picture, interval_text, mean_of
from toughen.analysis.measures.surface import largest_curvature, linearity_error, on_plane
from toughen.losses import cross_entropy


class LossSurface(Explanation):
    """The loss on a plane through images, its local linearity error and its largest curvature.

    The plane is spanned by each image's adversarial perturbation and a random one of the same size in l2; linearity is
    measured along the adversarial one; the curvature is the largest eigenvalue of the loss' Hessian with respect to
    the image. RegMix' paper argues by flatter surfaces.

    Args:
        images: how many images the plane and the curvature are taken of.
        points: points of each direction.
        iterations: of the power iteration, at most.
    """

    title = "Loss surface"
    source = "Liu and Ojha 2025 (RegMix); Qin et al. 2019 (linearity); Moosavi-Dezfooli et al. 2019 (curvature)"

    def __init__(self, images: int = 64, points: int = 11, iterations: int = 20) -> None:
        self.images, self.points, self.iterations = images, points, iterations

    def passes(self, images: int) -> float:
        """A pass a point; a backward pass of a backward pass an iteration."""
        return min(images, self.images) * (self.points**2 + 4.0 * self.iterations + 6)

    def explain(self, explained: Explained) -> Insight | None:
        """Plane, linearity error and curvature."""
        some = explained.first(self.images)
        losses = lambda labels: lambda x: cross_entropy(explained.model(x), labels)  # noqa: E731
        step = some.perturbed - some.images
        random = torch.randn(step.shape, generator=explained.generator()).to(step.device)
        ones = [1] * (step.ndim - 1)
        sizes = step.flatten(1).norm(dim=1).view(-1, *ones) / random.flatten(1).norm(dim=1).view(-1, *ones)
        factors = np.linspace(-1, 1, self.points).tolist()
        plane, errors, curvatures = [], [], []
        for images, moved, other, labels in zip(
            *(each.split(explained.batch_size) for each in (some.images, step, random * sizes, some.labels)),
            strict=True,
        ):
            loss = losses(labels)
            plane.append(on_plane(loss, images, moved, other, factors).double().sum(dim=0).cpu())
            errors.append(linearity_error(loss, images, moved).cpu())
            curvatures.append(largest_curvature(loss, images, explained.generator(), self.iterations).cpu())
        mean = torch.stack(plane).sum(dim=0) / len(some.images)
        figures = {
            "linearity_error": mean_of(torch.cat(errors), "linearity error along the perturbation, in nats", "low"),
            "curvature": mean_of(torch.cat(curvatures), "largest eigenvalue of the input Hessian", "low"),
            "rise": mean_of(
                _rise(explained, some), "rise of the loss from the image to its adversarial example", "low"
            ),
        }
        sentence = (
            f"From an image to its adversarial example the loss rises by {interval_text(figures['rise'])}; it "
            f"departs from its tangent by {interval_text(figures['linearity_error'])}, and its largest curvature is "
            f"{interval_text(figures['curvature'])}."
        )
        grid = {"values": mean.tolist(), "rows": [f"{f:g}" for f in factors], "columns": [f"{f:g}" for f in factors]}
        low, high = float(mean.min()), float(mean.max())
        sees = f"{low:.2g} to {high:.2g} nats, more in stronger colour; the image is the middle, its attack at 1."
        axes = ("random direction", "adversarial direction")
        picture = Picture("grid", "Mean loss on the plane", sees, grid, axes)
        arrays = {"linearity_error": torch.cat(errors).tolist(), "curvature": torch.cat(curvatures).tolist()}
        return Insight(sentence, figures, [picture], arrays)


def _rise(explained: Explained, some: Explained) -> Tensor:
    return some.over_batches(
        lambda images, perturbed, labels: (
            cross_entropy(explained.model(perturbed), labels) - cross_entropy(explained.model(images), labels)
        )
    )
