"""A share of images, as result.json holds it, with its interval."""

from typing import Annotated, TypedDict

from toughen.reading.schema import Between, Count, Share

Interval = tuple[Share, Share]
Some = Annotated[int, Between(1, 2**53)]
"""How many of something that is there."""


class FigureFacts(TypedDict):
    """A share of images that held."""

    accuracy: Share
    interval: Interval
    held: Count
    n: Some
