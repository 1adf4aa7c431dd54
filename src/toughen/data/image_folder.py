"""A folder of class folders."""

from collections.abc import Sequence
from pathlib import Path

from toughen.data.collection import Found, Part, Splittable
from toughen.data.encoded import Files
from toughen.data.kinds import IMAGES, is_image, visible_files
from toughen.data.source import Split
from toughen.data.splits import named
from toughen.errors import DataError


class ImageFolder(Splittable):
    """Your own images: a folder of image files a class, in PATH/train and PATH/test, or in PATH itself.

        PATH/train/cat/1.jpg   PATH/train/dog/7.png   PATH/test/cat/3.jpg   ...
        PATH/cat/1.jpg   PATH/dog/7.png   ...

    Without train and test, `test_share` of every class is drawn as the test set; a run keeps which, for `--resume`
    and `evaluate`. The folders may also be called training and testing, val, validation or valid, in any case; where
    both test and val exist, val is not used. Class folders are sorted by name and searched with their subfolders;
    hidden files and folders are left out. A training run decodes every image before it begins, and says all at once
    what is odd, what cannot be read, and which files are of no kind that is read.

    Args:
        path: the folder; with `test`, it may also hold the training set's class folders itself.
        test: another folder of class folders to be the test set.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the folder's name.
        skip_bad: leave out images that cannot be read, and files of kinds that are not, and say which.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: `size`, `channels`, `test_share` or `seed` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        test: str | Path | None = None,
        size: int | None = None,
        channels: int = 3,
        name: str | None = None,
        skip_bad: bool = False,
        test_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(size, channels, name, skip_bad, test_share, seed)
        self.path = path
        self.test = test

    def find(self, splits: Sequence[Split]) -> Found:
        """The files of these splits, or all where there are no splits.

        Raises:
            DataError: a missing or empty folder, only one class, a class folder without images, other classes in the
                test set than in the training set.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder at {root}; expected one with train/ and test/, given by --data.path")
        name = root.resolve().name
        folders = self._folders(root)
        if not folders:
            classes = _classes(root)
            return Found({None: _part(root, root, classes)}, tuple(classes), name)
        for split in splits:
            if split not in folders:
                raise DataError(_missing(root, split))
            if not folders[split].is_dir():
                raise DataError(
                    f"no folder at {folders[split]}; expected one folder of images a class, given by --data.test"
                )
        classes_of = {split: _classes(folder) for split, folder in folders.items() if folder.is_dir()}
        if len(classes_of) == 2:
            _check_same_classes(folders, classes_of)
        # The first training image sets the size, where none is given.
        wanted = {*splits, "train"} if self.size is None else set(splits)
        return Found(
            {split: _part(root, folders[split], each) for split, each in classes_of.items() if split in wanted},
            tuple(classes_of[splits[0]]),
            name,
        )

    def _folders(self, root: Path) -> dict[Split, Path]:
        """The folder of each split; none where the root holds class folders."""
        names = [entry.name for entry in root.iterdir() if entry.is_dir()]
        folders: dict[Split, Path] = {}
        for split in ("train", "test"):
            name = named(split, names)
            if name is not None:
                folders[split] = root / name
        if self.test is not None:
            folders["test"] = Path(self.test).expanduser()
            folders.setdefault("train", root)
        return folders


def _missing(root: Path, split: Split) -> str:
    found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5])
    if split == "train":
        return f"{root} has no folder train; found: {found}. Name the training images' folder with --data.path"
    train = named("train", (entry.name for entry in root.iterdir()))
    return (
        f"{root} has no folder test or val; found: {found}. Name the test images' folder with --data.test, or let test "
        f"images be drawn: --data.path {root / (train or 'train')}"
    )


def _part(root: Path, folder: Path, classes: list[str]) -> Part:
    """Images and labels of a folder of class folders, and its other files."""
    paths: list[str] = []
    labels: list[int] = []
    others: list[str] = []
    for number, name in enumerate(classes):
        files = visible_files(folder / name)
        images = [path for path in files if is_image(path)]
        if not images:
            raise DataError(
                f"class folder {folder / name} has no image; expected files ending in {', '.join(IMAGES)}. Add images "
                "or remove the folder"
            )
        paths += images
        labels += [number] * len(images)
        others += [path for path in files if not is_image(path)]
    loose = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".") and is_image(entry.name))
    if loose:
        raise DataError(
            f"{folder} has {len(loose):,} images in no class folder, such as {loose[0]}; move them into one"
        )
    return Part(Files(paths, str(root)), labels, others)


def _classes(folder: Path) -> list[str]:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} has no class folders; expected one folder of images a class")
    if len(classes) == 1:
        raise DataError(f"{folder} has one class folder, {classes[0]}; expected at least two classes to tell apart")
    return classes


def _check_same_classes(folders: dict[Split, Path], classes: dict[Split, list[str]]) -> None:
    train, test = classes["train"], classes["test"]
    differing = sorted(set(train) ^ set(test))
    if differing:
        owners = (f"{name} only in {folders['train' if name in train else 'test']}" for name in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise DataError(
            f"training and test classes differ: {'; '.join(owners)}{more}; give both the same class folders"
        )
