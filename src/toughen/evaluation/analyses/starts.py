"""Misclassified images that an attack may start from."""

import math

import torch
from torch import Tensor, nn

from toughen.data import sample_by_class
from toughen.evaluation.analysis import Scene
from toughen.evaluation.inference import predict
from toughen.threat import ThreatModel

_COUNT = 200


def candidates(scene: Scene) -> Tensor:
    """200 images drawn by class from the split (fewer where it has fewer), and 200 of noise; on the scene's device."""
    pictures, _ = scene.images.subset(sample_by_class(scene.images.labels, _COUNT, scene.seed))
    noise = torch.rand(_COUNT, *pictures.shape[1:], generator=torch.Generator().manual_seed(scene.seed))
    return torch.cat([pictures, noise]).to(scene.device)


def nearest_wrong(model: nn.Module, images: Tensor, labels: Tensor, given: Tensor, threat: ThreatModel) -> Tensor:
    """For each image the place of the nearest candidate whose class is not its label; -1 where there is none.

    Args:
        model: classifies the candidates.
        images: N x C x H x W.
        labels: int64, (N,).
        given: the candidates, M x C x H x W.
        threat: whose norm says what is near.
    """
    classes = torch.cat([predict(model, part) for part in given.split(max(1, len(images)))])
    places = []
    for image, label in zip(images, labels, strict=True):
        distances = threat.norm_of(given - image).masked_fill(classes == label, math.inf)
        nearest = int(distances.argmin())
        places.append(nearest if bool(distances[nearest].isfinite()) else -1)
    return torch.tensor(places, dtype=torch.int64, device=images.device)
