"""Which images are for training and which for testing: by what the data says, or drawn where it says nothing."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from toughen.data.order import epoch_order
from toughen.data.source import Split
from toughen.numbers import check_number

NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "validation", "valid"),
}
"""What a split's folder, file or rows may be called, in any case; of several the first counts, and no other is used."""


def named(split: Split, names: Iterable[str]) -> str | None:
    """The one of these names that means the split; None without one.

    >>> named("test", ["val", "Testing"]), named("train", ["cats"])
    ('Testing', None)
    """
    found = {name.lower(): name for name in names}
    return next((found[each] for each in NAMES[split] if each in found), None)


def split_by_class(labels: Tensor, test_share: float, seed: int) -> dict[Split, list[int]]:
    """Draw test images of every class: places among the labels, sorted.

    Of a class with n images `round(test_share n)` are drawn, but at least one and at most n - 1; of a class with one
    image none.

    >>> import torch
    >>> split_by_class(torch.tensor([0] * 10 + [1] * 2 + [2]), 0.2, seed=0)["test"]
    [0, 8, 10]
    """
    test: list[int] = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten()
        count = min(max(1, round(test_share * len(places))), len(places) - 1)
        # A stream of its own, next to those of the epochs, the validation split and the samples.
        test += places[epoch_order(len(places), seed, 2**32 - 3)[:count]].tolist()
    chosen = set(test)
    return {"train": [place for place in range(len(labels)) if place not in chosen], "test": sorted(chosen)}


def check_share(test_share: float) -> None:
    """Raise unless a setting can be the share of the test images.

    Raises:
        InputError: it is not between 0 and 1.
    """
    check_number("data.test_share", test_share, "a share", above=0, below=1, such="0.2")


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Class names in order, and each entry's number among them: whole numbers by size, other names by the alphabet.

    >>> numbered(["10", "9", "10"]), numbered(["dog", "cat"])
    ((('9', '10'), [1, 0, 1]), (('cat', 'dog'), [1, 0]))
    """
    different = set(names)
    whole = all(name.isascii() and name.isdigit() and len(name) < 10 for name in different)
    classes = tuple(sorted(different, key=(lambda name: (int(name), name)) if whole else None))
    places = {name: place for place, name in enumerate(classes)}
    return classes, [places[name] for name in names]
