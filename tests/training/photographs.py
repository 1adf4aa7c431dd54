"""A small colour set that ships with scikit-learn: pieces of its two photographs, told by where they lie."""

from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import nn

from toughen.data import DataSource, ImageSet, Split
from toughen.data.tensors import image_set


@cache
def both() -> list[Any]:
    """The photographs, height x width x 3."""
    return list(load_sample_images().images)


class Photographs(DataSource):
    """Pieces of 16 x 16 pixels, every fourth pixel of the photograph; the class is the photograph and the sixth of it.

    Args:
        pieces: how many to train on.
        classes: 12, or fewer, where neighbouring sixths are one class.
    """

    def __init__(self, pieces: int = 1400, classes: int = 12) -> None:
        self.pieces = pieces
        self.classes = classes

    def load(self, split: Split) -> ImageSet:
        generator = np.random.default_rng(["train", "test"].index(split))
        reach, images, labels = 64, [], []
        count = self.pieces if split == "train" else 120
        for number in range(count):
            label = number % 12
            photograph = both()[label // 6]
            width = photograph.shape[1] // 6
            top = generator.integers(photograph.shape[0] - reach)
            left = (label % 6) * width + generator.integers(width - reach)
            images.append(photograph[top : top + reach : 4, left : left + reach : 4])
            labels.append(label)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        return image_set(
            pixels, torch.tensor(labels) * self.classes // 12, num_classes=self.classes, name="photographs"
        )


def strided(num_classes: int, in_channels: int = 3, width: int = 24) -> nn.Module:
    """Two convolutions and two linear layers with BatchNorm: enough to collapse, where pooling would not be."""
    layers: list[nn.Module] = []
    for before, after in ((in_channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(before, after, 3, 2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    hidden = [nn.Linear(32 * width, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(128, num_classes))
