"""Image arrays as PNG data URIs, small enough to be many in one page."""

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST_SIDE = 96


def data_uri(image: NDArray[Any]) -> str:
    """A C x H x W image in [0, 1] as a PNG that a page can hold.

    One channel gives a grey image, three a colour one, any other number the mean over the channels. An image
    with a side over 96 pixels is scaled down by area.
    """
    picture = image if len(image) in (1, 3) else image.mean(axis=0, keepdims=True)
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    png = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    side = max(png.size)
    if side > LARGEST_SIDE:
        width, height = (max(1, round(length * LARGEST_SIDE / side)) for length in png.size)
        png = png.resize((width, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    png.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def amplification(delta: NDArray[Any]) -> float:
    """The factor that makes the largest change of a pixel visible as black or white around middle grey.

    Whole where it is over 1, so that a caption can state it exactly.

    >>> amplification(np.array([0.0, -8 / 255])), amplification(np.array([0.8]))
    (15, 1)
    """
    largest = float(np.abs(delta).max()) if delta.size else 0.0
    return max(1, math.floor(0.5 / largest + 1e-3)) if largest > 0 else 1


def amplified(delta: NDArray[Any], factor: float) -> NDArray[Any]:
    """A perturbation as an image: middle grey where nothing changes."""
    return np.clip(0.5 + factor * delta, 0, 1)
