"""Images scaled down twice. Those outside [0, 1] are an error: see `toughen.contracts.check_images`."""

from collections.abc import Iterator

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck


def _find(context: PreflightContext) -> Iterator[Finding]:
    """A sample of images in which nothing is brighter than 2/255."""
    largest = float(context.images.max())
    if largest <= 2 / 255:
        yield Finding(
            "image_range",
            "doubt",
            f"the largest value in {len(context)} images is {largest:.4g}: they look divided by 255 twice; give uint8 "
            "images with values 0 .. 255, which toughen divides",
            {"largest": largest, "n": len(context)},
        )


CHECK = PreflightCheck(10, _find)
