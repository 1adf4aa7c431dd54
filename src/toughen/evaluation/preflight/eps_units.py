"""A radius in other units than the [0, 1] image's. An l-inf radius of 1 or more is an error: see `ThreatModel`."""

from collections.abc import Iterator

import torch

from toughen.evaluation.preflight.context import PreflightContext
from toughen.evaluation.preflight.finding import Finding, PreflightCheck
from toughen.numbers import as_text


def _find(context: PreflightContext) -> Iterator[Finding]:
    """A ball that holds nothing but the image, or one that holds plain gray."""
    threat, image = context.threat, context.images[:1]
    values, diameter = image[0].numel(), float(threat.norm_of(torch.ones_like(image)))
    figures = {"eps": threat.radius, "diameter": diameter, "values": values}
    if threat.radius < threat.smallest_likely:
        change = threat.radius / float(threat.norm_of(torch.full_like(image, 1 / 255)))
        meant = f"did you mean {as_text(threat.radius * 255)}?"
        if not threat.bounds_each_pixel and threat.radius * 255 > 1:
            meant = f"is it an l-inf radius? {threat.norm} radii are larger, or did you mean {threat.radius * 255:.4g}?"
        yield Finding(
            "eps_units",
            "doubt",
            f"eps {as_text(threat.radius)} in {threat.norm}, spread over an image's {values:,} values, is {change:.2g} "
            f"of an 8-bit step for each; eps is in units of the [0, 1] image: {meant}",
            figures,
        )
    # A half away from every value: the distance of the farthest image from gray.
    if threat.radius > diameter / 2:
        yield Finding(
            "eps_units",
            "doubt",
            f"eps {as_text(threat.radius)} in {threat.norm} turns any image into plain gray (images are at most "
            f"{diameter:.4g} apart), so no model can hold; eps is in units of the [0, 1] image: did you mean "
            f"{threat.radius:.4g}/255?",
            figures,
        )


CHECK = PreflightCheck(20, _find)
