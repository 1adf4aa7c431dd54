"""Tar shards in the layout of WebDataset."""

import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from toughen.data.collection import Found, Part, Splittable
from toughen.data.kinds import IMAGES
from toughen.data.shards import find_shards
from toughen.data.source import Split
from toughen.data.splits import numbered
from toughen.errors import DataError
from toughen.extras import library
from toughen.reading.files import check_file, from_json, readable
from toughen.reading.schema import UnfitError

AGAIN = "download or write it again"
LARGEST_NOTE = 2**20
"""Bytes of a member that holds a class."""
REST = 2**16
"""Bytes after the last member that are looked at: a whole tar ends with blocks of zeros."""
Place = tuple[int, int]
"""Where a member begins in its shard, and how many bytes it has."""


class Sample(NamedTuple):
    """An image in a shard, its name and its class."""

    key: str
    shard: Path
    place: Place
    label: str


class WebDataset(Splittable):
    """Tar shards in WebDataset's layout: PATH/train-*.tar and PATH/test-*.tar, or PATH/*.tar without a split.

        0001.jpg   0001.cls   0002.jpg   0002.cls   ...

    Members of one name are one sample: an image, and its class as text or a number in `.cls`, or under "label" in
    `.json`. The shards stay where they are: what lies where is read at the start, and each image from its place when it
    is needed, so that a set may be larger than the memory and is read in any order. They may be called as those of
    Parquet, in PATH or PATH/data; they must not be compressed, which images are already.

    Needs the extra `webdataset`.

    Args:
        path: the folder.
        label: ending of the member with the class; default cls, else json.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the folder's name.
        skip_bad: leave out images that cannot be read, and say which.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: `size`, `channels`, `test_share` or `seed` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        label: str | None = None,
        size: int | None = None,
        channels: int = 3,
        name: str | None = None,
        skip_bad: bool = False,
        test_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(size, channels, name, skip_bad, test_share, seed)
        self.path = path
        self.label = label

    def find(self, splits: Sequence[Split]) -> Found:
        """The samples of the shards of both splits, which have their classes in common.

        Raises:
            DataError: missing, incomplete, compressed or damaged shards; a sample without an image or a class.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder at {root}; expected one with *.tar, given by --data.path")
        shards = self._shards(root, splits)
        # By name, so that neither the order in the shards nor their number decides anything.
        samples = {split: sorted(chain(*map(self._samples, each))) for split, each in shards.items()}
        classes, numbers = numbered([sample.label for each in samples.values() for sample in each])
        parts = {}
        for split, each in samples.items():
            labels, numbers = numbers[: len(each)], numbers[len(each) :]
            parts[split] = Part(Members(each), labels)
        return Found(parts, classes, root.resolve().name)

    def _shards(self, root: Path, splits: Sequence[Split]) -> dict[Split | None, list[Path]]:
        """The shards of each split; all under None where there are no splits."""
        shards: dict[Split | None, list[Path]] = {}
        for split in ("train", "test"):
            if found := find_shards(root, split, "tar"):
                shards[split] = found
        missing = [split for split in splits if split not in shards]
        if shards and missing:
            raise DataError(
                f"{root} has no {missing[0]}-*.tar, neither there nor in data/, only those of the other split; add some"
            )
        undivided = sorted(root.glob("*.tar"))
        if not shards and not undivided:
            there = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
            raise DataError(f"{root} has no *.tar; found: {there}")
        return shards or {None: undivided}

    def _samples(self, shard: Path) -> Iterator[Sample]:
        tariterators = library("webdataset.tariterators", "webdataset")
        with readable(shard, AGAIN, DataError):
            members = ({"fname": name, "data": place, "__url__": str(shard)} for name, place in _members(shard))
            try:
                # The library's own grouping, of places and not of contents: its readers unpickle some members.
                samples = list(tariterators.group_by_keys(members))
            except ValueError as error:
                raise UnfitError(f"it has two members of one name: {error}") from error
            for sample in samples:
                key = sample["__key__"]
                image = next((sample[ending[1:]] for ending in IMAGES if ending[1:] in sample), None)
                if image is None:
                    raise UnfitError(f"sample {key} has no image; expected a member ending in {', '.join(IMAGES)}")
                yield Sample(key, shard, image, self._class(shard, key, sample))

    def _class(self, shard: Path, key: str, sample: dict[str, Any]) -> str:
        endings = ("cls", "json") if self.label is None else (self.label,)
        ending = next((each for each in endings if each in sample), None)
        if ending is None:
            raise UnfitError(f"sample {key} has no class; expected a member ending in {' or '.join(endings)}")
        begin, size = sample[ending]
        if size > LARGEST_NOTE:
            raise UnfitError(f"{key}.{ending} has {size:,} bytes, expected at most {LARGEST_NOTE:,}")
        with shard.open("rb") as file:
            file.seek(begin)
            data = file.read(size)
        if ending == "json":
            label = from_json(data, dict[str, Any]).get("label")
            text = str(label) if isinstance(label, str | int) and not isinstance(label, bool) else ""
        else:
            text = data.decode("utf-8", "replace")
        if not text.strip() or not text.strip().isprintable():
            raise UnfitError(f"{key}.{ending} holds no class; expected a name or a number")
        return text.strip()


def _members(shard: Path) -> Iterator[tuple[str, Place]]:
    """Name and place of every ordinary file in a tar."""
    size = check_file(shard)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # which would grow with every one
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > size:
                    raise UnfitError(f"it ends within {member.name}")
                yield member.name, (member.offset_data, member.size)
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise UnfitError(f"it is no tar, or a damaged or compressed one: {error}") from error
    with shard.open("rb") as file:
        file.seek(end)
        rest = file.read(REST)
    # A damaged header looks like the end to tarfile, which would leave out what follows.
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise UnfitError(f"it breaks off, or is damaged, at byte {end:,} of {size:,}")


class Members:
    """One encoded image a member of a tar, read from its place when it is asked for."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.shards = sorted({sample.shard for sample in samples})
        numbers = {shard: number for number, shard in enumerate(self.shards)}
        self.keys = [sample.key for sample in samples]
        # In an array, which a loader's workers share.
        self.places = np.array([(numbers[each.shard], *each.place) for each in samples], np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.keys)

    def open(self, index: int) -> BinaryIO:
        """The encoded image.

        Raises:
            DataError: the shard has gone or may not be read.
        """
        shard, begin, size = self.places[index].tolist()
        path = self.shards[shard]
        with readable(path, "restore it", DataError):
            check_file(path)
            with path.open("rb") as file:
                file.seek(begin)
                return BytesIO(file.read(size))

    def where(self, index: int) -> str:
        """The shard's path, and the sample."""
        return f"{self.shards[self.places[index, 0]]}: {self.keys[index]}"

    def name(self, index: int) -> str:
        """The shard's name, and the sample."""
        return f"{self.shards[self.places[index, 0]].name}: {self.keys[index]}"
