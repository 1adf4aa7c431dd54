"""What a run's data.json holds."""

from typing import TypedDict

from toughen.reading.schema import Count


class Odd(TypedDict):
    """Something that decoding changed, and of how many images."""

    what: str
    images: Count


class Missing(TypedDict):
    """A file that the run did not use: its split, its name within the data, and why."""

    split: str
    image: str
    why: str


class RunImages(TypedDict):
    """Title of the data, images by split and class, whether the split was drawn, what is odd, what was left out."""

    name: str
    splits: dict[str, dict[str, Count]]
    drawn: bool
    odd: list[Odd]
    left_out: list[Missing]
