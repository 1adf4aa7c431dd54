"""A linear classifier of which every smallest perturbation is known, and analyses run as an evaluation runs them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toughen.data import ImageSet
from toughen.data.source import Decoded
from toughen.errors import ToughenWarning
from toughen.evaluation import Analysis, prepare
from toughen.evaluation.runner import analyse
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Linear:
    """Two classes, `w x + b > 0` or not, and 40 gray images of 8 x 8 pixels in [0.3, 0.7]; the first is mislabelled."""

    model: nn.Module
    images: ImageSet
    weight: Tensor

    def smallest(self, norm: str) -> list[float]:
        """The norm of the smallest perturbation that breaks each image; 0 for the first.

        Without the box it is the distance to the plane, |w x + b| over the dual norm of w. In l-inf and l2 it stays
        inside; in l1 the pixel with the largest weight is moved to the edge of [0, 1], then the next.
        """
        pictures, _ = self.images.subset(torch.arange(len(self.images)))
        with torch.no_grad():
            gaps = self.model(pictures)[:, 1].double().tolist()
        w = self.weight.double().numpy()
        sizes = []
        for picture, gap in zip(pictures.flatten(1).double().numpy(), gaps, strict=True):
            if norm == "l1":
                size, left = 0.0, abs(gap)
                for pixel in np.argsort(-np.abs(w)):
                    room = 1 - picture[pixel] if -gap * w[pixel] > 0 else picture[pixel]
                    move = min(room, left / abs(w[pixel]))
                    size, left = size + move, left - move * abs(w[pixel])
            else:
                size = abs(gap) / (np.abs(w).sum() if norm == "linf" else np.sqrt((w * w).sum()))
            sizes.append(float(size))
        return [0.0, *sizes[1:]]


class Plane(nn.Module):
    """Logits 0 and `w x + b`."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.layer = nn.Linear(len(weight), 1)
        self.layer.weight.data, self.layer.bias.data = weight[None], torch.tensor([bias])

    def forward(self, images: Tensor) -> Tensor:
        gaps = self.layer(images.flatten(1))
        return torch.cat([torch.zeros_like(gaps), gaps], dim=1)


@pytest.fixture(scope="session")
def linear() -> Linear:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(64, generator=generator)
    pixels = (torch.rand(40, 1, 8, 8, generator=generator) * 102 + 77).byte()
    gaps = pixels.flatten(1).float() / 255 @ weight
    model = Plane(weight, -float(gaps.mean())).eval()
    with torch.no_grad():
        labels = model(pixels.float() / 255).argmax(1)
    labels[0] = 1 - labels[0]
    return Linear(model, ImageSet(Decoded(pixels), labels, ("left", "right"), "a plane"), weight)


Study = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def study() -> Study:
    """What an analysis finds, with its settings, as `evaluate` runs it."""

    def run(analysis: Analysis, model: nn.Module, images: ImageSet, threat: ThreatModel, **settings: Any) -> dict:
        given = {"budget": "quick", "sample": "first", "device": "cpu", "batch_size": 16, **settings}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ToughenWarning)  # some of the models here are broken on purpose
            task = prepare(model, images, threat, **given)
        return analyse(task, [analysis])[analysis.name]

    return run
