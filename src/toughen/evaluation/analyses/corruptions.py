"""Robustness to noise, blur, weather and digital damage that nobody aimed at the model."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toughen.data.source import in_unit_range
from toughen.errors import InputError, did_you_mean
from toughen.evaluation.analyses.base import Analysis, AnalysisContext, at_least
from toughen.evaluation.analyses.shares import mean_share
from toughen.evaluation.records.verdicts import figure
from toughen.extras import library
from toughen.models.inference import classes_of

COMMON = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
"""The fifteen corruptions of Hendrycks & Dietterich (2019)."""

# The library's smallest image.
_SMALLEST = 32


class Corruptions(Analysis):
    """Accuracy under the common corruptions of Hendrycks & Dietterich (2019), each at severities from 1 to 5.

    They come from the package imagecorruptions-imaug, the maintained version of the one by Michaelis et al. (2019). It
    holds the published fifteen with their published severities, runs on current NumPy and needs no network; torchvision
    and kornia have such transforms, but no severities that others have used.

    The severities were chosen for images of 224 pixels: on smaller ones each is harder, and figures compare with each
    other, but not with CIFAR-10-C's. The package takes images from 32 pixels on. In a smaller one each pixel is
    repeated k x k times, with the smallest k that is enough (`enlarged` in the result), and the middle pixel of each
    block of the corrupted image is kept: noise then has its full strength, blur is that of the enlarged image, and
    pixelation and JPEG hardly touch it. The package makes a grayscale image a colour one, whose green channel is kept;
    where there are neither 1 nor 3 channels, each is taken for a grayscale image.

    `mean` is over images of each image's share of rows in which it was right; see `mean_share`.

    Args:
        severities: from 1 (weak) to 5 (strong).
        corruptions: names; default all fifteen.
        images: how many of the evaluated images, drawn by class.

    Raises:
        InputError: an unknown corruption or severity.
        ToughenError: the package is not installed.
    """

    def __init__(
        self,
        severities: list[int] = [1, 3, 5],  # noqa: B006 - never changed
        corruptions: list[str] | None = None,
        images: int = 200,
    ) -> None:
        at_least(1, images=images)
        if not severities or not set(severities) <= set(range(1, 6)):
            raise InputError(f"severities: expected one or more of 1, 2, 3, 4, 5, got {severities}")
        unknown = sorted(set(corruptions or COMMON) - set(COMMON))
        if unknown:
            raise InputError(f"corruptions: unknown {unknown[0]!r}; {did_you_mean(unknown[0], COMMON)}")
        library("imagecorruptions", "corruptions")
        self.severities = severities
        self.corruptions = corruptions
        self.images = images

    def run(self, context: AnalysisContext) -> dict[str, Any]:
        """A figure for each corruption and severity, and the mean."""
        rows, held = [], []
        for corruption in self.corruptions or COMMON:
            for severity in self.severities:
                right = self._right(context, corruption, severity)
                rows.append({"corruption": corruption, "severity": severity, **figure(right)})
                held.append(right)
        return {
            "library": "imagecorruptions-imaug",
            "enlarged": _factor(context.images.shape),
            "rows": rows,
            "mean": mean_share(np.mean(held, axis=0)),
        }

    def _right(self, context: AnalysisContext, corruption: str, severity: int) -> NDArray[np.bool_]:
        right = []
        for places in context.batches(self.images):
            labels = context.images.labels[places].to(context.device)
            seeds = [(context.seed % 2**32, COMMON.index(corruption), severity, place) for place in places.tolist()]
            given = (in_unit_range(context.images.images.take(places)) * 255).round().to(torch.uint8)
            damaged = torch.stack([corrupted(*each, corruption, severity) for each in zip(given, seeds, strict=True)])
            right.append((classes_of(context.model, damaged.to(context.device).float() / 255) == labels).cpu())
        return torch.cat(right).numpy()


def corrupted(image: Tensor, seed: Sequence[int], corruption: str, severity: int) -> Tensor:
    """An image (uint8, C x H x W) after a corruption, of the same shape; all randomness comes from `seed`.

    NumPy's global generator, which the package draws from, is left as it was.
    """
    corrupt = library("imagecorruptions", "corruptions").corrupt
    factor = _factor(image.shape)
    large = image.numpy().repeat(factor, axis=1).repeat(factor, axis=2)
    drawn = int(np.random.SeedSequence(seed).generate_state(1)[0])
    # These two draw from generators of their own unless they are told a seed.
    told = {"seed": drawn} if corruption in ("impulse_noise", "glass_blur") else {}
    colour = len(large) == 3
    pictures = [large.transpose(1, 2, 0)] if colour else list(large)
    with _numpy_seeded(drawn), contextlib.redirect_stdout(io.StringIO()):
        made = [corrupt(picture, severity, corruption, **told) for picture in pictures]
    damaged = made[0].transpose(2, 0, 1) if colour else np.stack([each[..., 1] for each in made])
    return torch.from_numpy(damaged[:, factor // 2 :: factor, factor // 2 :: factor].copy())


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _factor(shape: Sequence[int]) -> int:
    """How often each pixel is repeated."""
    return -(-_SMALLEST // min(shape[1:]))
