"""Sources of encoded images, whatever these lie in: read by split, looked at, and split where they are not."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from toughen.data.decode import check_format
from toughen.data.encoded import Chosen, Encoded, Source
from toughen.data.source import DataSource, ImageSet, Split
from toughen.data.splits import check_share, split_by_class
from toughen.data.survey import survey
from toughen.errors import DataError, ToughenWarning
from toughen.numbers import check_seed
from toughen.printable import is_name


class Collection(DataSource, ABC):
    """A source of encoded images, some of which may not be readable.

    Attributes:
        skip_bad: leave out what cannot be read, and say which.
    """

    skip_bad: bool

    @abstractmethod
    def listed(self, splits: Sequence[Split]) -> dict[Split, ImageSet]:
        """The images of these splits as they are found: what cannot be read is among them.

        Raises:
            DataError: there are none, or what says which they are is damaged.
        """

    def load(self, split: Split) -> ImageSet:
        """The training or the test images, still encoded.

        Raises:
            DataError: there are none; without `skip_bad`, files of kinds that are not read; a class that has no
                readable image.
        """
        return survey(self.listed([split]), self.skip_bad, examine=False).sets[split]


@dataclass(frozen=True)
class Part:
    """Images of one split, or all of them: where they are, each one's class, and files that are no images."""

    source: Source
    labels: Sequence[int]
    others: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """What a source holds.

    Attributes:
        parts: by split; one alone under None where the data has no splits.
        classes: the classes' names.
        name: title of figures made on it.
    """

    parts: Mapping[Split | None, Part]
    classes: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Kept:
    """What a run has kept of its images, by name.

    Attributes:
        splits: the split of each, where the run has drawn it.
        left_out: those that it did not use.
        looked_at: the splits that it looked through for such images.
        file: what says so, for messages.
    """

    splits: Mapping[str, Split]
    left_out: frozenset[str]
    looked_at: frozenset[str]
    file: str


class Splittable(Collection, ABC):
    """Images that may come without a split: then test images are drawn by class.

    Images lie class by class, those of one class in the order that they are found in, so that the same images give the
    same run whatever they lie in.
    """

    kept: Kept | None = None

    def __init__(
        self, size: int | None, channels: int, name: str | None, skip_bad: bool, test_share: float, seed: int
    ) -> None:
        check_format(size, channels)
        check_share(test_share)
        check_seed("data.seed", seed)
        self.size = size
        self.channels = channels
        self.name = name
        self.skip_bad = skip_bad
        self.test_share = test_share
        self.seed = seed

    @abstractmethod
    def find(self, splits: Sequence[Split]) -> Found:
        """The images of these splits, or all where there are no splits.

        Raises:
            DataError: there are none, or what says which they are is damaged.
        """

    def as_in(self, kept: Kept) -> Self:
        """The same source with a run's split, without what that run left out."""
        other = copy.copy(self)
        other.kept = kept
        return other

    def listed(self, splits: Sequence[Split]) -> dict[Split, ImageSet]:
        """The images of these splits as they are found."""
        found = self.find(splits)
        undivided = found.parts.get(None)
        odd = [name for name in found.classes if not is_name(name)]
        if odd:
            raise DataError(
                f"{found.name}: the name of class {odd[0]!r} has a line break, or a character that a terminal obeys; "
                "give it another"
            )
        if len(found.classes) < 2:
            raise DataError(
                f"{found.name} has images of one class, {', '.join(found.classes) or 'none'}; expected at least two "
                "classes to tell apart"
            )
        places = {} if undivided is None else self._drawn(undivided, list(splits))
        sets: dict[Split, ImageSet] = {}
        train: Encoded | None = None
        for split in ("train", "test"):
            part = found.parts.get(split, undivided)
            if part is None or (split == "test" and split not in splits):
                continue
            source, labels = self._in_order(part, places.get(split))
            store = Encoded(source, self.channels, self.size, train if split == "test" else None)
            train = store if split == "train" and len(store) else train
            if split in splits:
                others = part.others if undivided is None or split == splits[0] else ()
                sets[split] = ImageSet(
                    store, labels, found.classes, self.name or found.name, tuple(others), undivided is not None
                )
        return sets

    def _in_order(self, part: Part, places: list[int] | None) -> tuple[Source, torch.Tensor]:
        """Some of a part's images or all, class by class, without those that the run has left out."""
        labels = torch.tensor(part.labels, dtype=torch.int64)
        chosen = torch.arange(len(labels)) if places is None else torch.tensor(places, dtype=torch.int64)
        chosen = chosen[labels[chosen].argsort(stable=True)]
        if self.kept is not None and self.kept.left_out:
            gone = self.kept.left_out
            chosen = chosen[[part.source.name(place) not in gone for place in chosen.tolist()]]
        whole = len(chosen) == len(labels) and bool((chosen == torch.arange(len(labels))).all())
        return (part.source if whole else Chosen(part.source, chosen.tolist())), labels[chosen]

    def _drawn(self, part: Part, splits: list[Split]) -> dict[Split, list[int]]:
        """Places of the training and the test images: as the run has them, else drawn."""
        if self.kept is None or not self.kept.splits:
            return split_by_class(torch.tensor(part.labels, dtype=torch.int64), self.test_share, self.seed)
        places: dict[Split, list[int]] = {"train": [], "test": []}
        known, new = dict(self.kept.splits), 0
        for place in range(len(part.source)):
            name = part.source.name(place)
            split = known.pop(name, None)
            if split is not None:
                places[split].append(place)
            elif name not in self.kept.left_out:
                new += 1
        gone = [name for name, split in known.items() if split in splits]
        if gone:
            raise DataError(
                f"not there any more: {len(gone):,} of the run's images, such as {gone[0]} ({self.kept.file} has them "
                "all); restore them"
            )
        if new:
            warnings.warn(
                f"not used: {new:,} images that have come since the run was begun, whose split was drawn without them",
                ToughenWarning,
                stacklevel=4,
            )
        return places
