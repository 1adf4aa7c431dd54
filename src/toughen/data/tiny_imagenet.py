"""Tiny ImageNet in its own folder layout."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from toughen.data.collection import Collection
from toughen.data.encoded import Encoded, Files
from toughen.data.kinds import visible_files
from toughen.data.source import ImageSet, Split
from toughen.errors import DataError
from toughen.reading.files import read_text, readable
from toughen.reading.schema import shown

FOLDER = "tiny-imagenet-200"


class TinyImageNet(Collection):
    """Tiny ImageNet: 200 classes of 64 x 64 colour images, 100,000 to train and 10,000 to test.

    Reads the folder that `tiny-imagenet-200.zip` (http://cs231n.stanford.edu/tiny-imagenet-200.zip) unpacks to:

        PATH/train/n01443537/images/n01443537_0.JPEG   ...   PATH/val/images/val_0.JPEG   ...
        PATH/val/val_annotations.txt                         PATH/wnids.txt   PATH/words.txt

    The published test labels are not public: as in all published figures, the images of `val` are the test set. Labels
    follow the sorted WordNet ids, as in the copies on the Hugging Face hub, which `Parquet` reads.

    Args:
        path: the unpacked folder, or the one that it lies in.
        skip_bad: leave out images that cannot be read, and files that are no *.JPEG, and say which.
    """

    def __init__(self, path: str | Path, skip_bad: bool = False) -> None:
        self.path = path
        self.skip_bad = skip_bad

    def listed(self, splits: Sequence[Split]) -> dict[Split, ImageSet]:
        """The images of these splits as they are found.

        Raises:
            DataError: a missing or empty folder or file, or a test image without a class.
        """
        root = self._root()
        ids = sorted(_lines(root / "wnids.txt"))
        for wnid in ids:
            if not re.fullmatch(r"\w{1,32}", wnid):  # it names a folder
                raise DataError(f"{root / 'wnids.txt'}: expected ids such as n01443537, got {shown(wnid)}")
        first = Encoded(Files(_train_images(root, ids[0]), str(root)), channels=3)
        names = _names(root / "words.txt", ids)
        return {split: _images(root, ids, names, first, split) for split in splits}

    def _root(self) -> Path:
        given = Path(self.path).expanduser()
        for root in (given, given / FOLDER):
            if (root / "wnids.txt").is_file():
                return root
        found = ", ".join(sorted(entry.name for entry in given.iterdir())[:5]) if given.is_dir() else "no folder"
        raise DataError(
            f"no Tiny ImageNet at {given}: expected wnids.txt, train/ and val/; found: {found or 'nothing'}. Unpack "
            f"http://cs231n.stanford.edu/{FOLDER}.zip there, or name its folder with --data.path. Parquet shards are "
            "read by --data parquet, other folders of class folders by --data image_folder"
        )


def _images(root: Path, ids: list[str], names: tuple[str, ...], first: Encoded, split: Split) -> ImageSet:
    """One split; the first training image sets the size."""
    if split == "train":
        each = [_train_images(root, wnid) for wnid in ids]
        samples = [(path, number) for number, paths in enumerate(each) for path in paths]
        folders = [root / "train" / wnid / "images" for wnid in ids]
    else:
        samples = _test_images(root, {wnid: number for number, wnid in enumerate(ids)})
        folders = [root / "val" / "images"]
    paths = [path for path, _ in samples]
    known = set(paths)
    others = tuple(path for folder in folders for path in visible_files(folder) if path not in known)
    store = Encoded(Files(paths, str(root)), channels=3, like=first)
    return ImageSet(store, torch.tensor([number for _, number in samples]), names, "Tiny ImageNet", others)


def _train_images(root: Path, wnid: str) -> list[str]:
    folder = root / "train" / wnid / "images"
    paths = sorted(str(path) for path in folder.glob("*.JPEG"))
    if not paths:
        raise DataError(f"{folder} has no *.JPEG, but wnids.txt names its class; unpack {FOLDER}.zip again")
    return paths


def _test_images(root: Path, numbers: dict[str, int]) -> list[tuple[str, int]]:
    annotations = root / "val" / "val_annotations.txt"
    samples = []
    for line in _lines(annotations):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in numbers or not re.fullmatch(r"[\w.-]{1,100}", name):
            raise DataError(
                f"{annotations}: expected an image and its class from wnids.txt, between tabs, got {shown(line)}; "
                f"unpack {FOLDER}.zip again"
            )
        samples.append((str(root / "val" / "images" / name), numbers[wnid]))
    return samples


def _names(words: Path, ids: list[str]) -> tuple[str, ...]:
    """The classes' first names, with all their names where two classes share the first, ids where there is no file."""
    if not words.is_file():
        return tuple(ids)
    known = dict(line.split("\t", 1) for line in _lines(words) if "\t" in line)
    names = [known.get(wnid, wnid) for wnid in ids]
    first = [name.partition(",")[0] for name in names]
    return tuple(short if first.count(short) == 1 else name for short, name in zip(first, names, strict=True))


def _lines(file: Path) -> list[str]:
    with readable(file, f"unpack {FOLDER}.zip again", DataError):
        lines = [line.rstrip() for line in read_text(file).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{file} is empty; unpack {FOLDER}.zip again")
    return lines
