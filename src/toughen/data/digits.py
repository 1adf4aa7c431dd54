"""Handwritten digits that come with scikit-learn."""

import numpy as np
import torch

from toughen.data.source import DataSource, Decoded, ImageSet, Split
from toughen.numbers import check_seed
from toughen.threat import ThreatModel

TEST_IMAGES = 360


class Digits(DataSource):
    """1,797 real scans of handwritten digits, 8 x 8 grey pixels; part of scikit-learn, no download.

    The scans' values 0 .. 16 become `round(v * 255 / 16)`. scikit-learn's copy has no split of its own: 360
    images, of each class its share, are the test set.

    Args:
        seed: decides the split into 1,437 training and 360 test images. Figures of two seeds are not comparable.

    >>> test = Digits().load("test")
    >>> len(test), test.shape
    (360, (1, 8, 8))
    """

    threat = ThreatModel("linf", 0.1)

    def __init__(self, seed: int = 0) -> None:
        check_seed("data.seed", seed)
        self.seed = seed

    def load(self, split: Split) -> ImageSet:
        """The training or the test images."""
        # Here, because scikit-learn takes a second to import.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        scans, labels = load_digits(return_X_y=True)
        train, test = train_test_split(
            np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=self.seed
        )
        chosen = np.sort(train if split == "train" else test)
        pixels = np.rint(scans[chosen] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
        return ImageSet(
            Decoded(torch.from_numpy(pixels)),
            torch.from_numpy(labels[chosen].astype(np.int64)),
            tuple(str(digit) for digit in range(10)),
            "digits",
        )
