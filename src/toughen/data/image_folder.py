"""A folder of class folders."""

from pathlib import Path

import torch

from toughen.data.decode import check_format
from toughen.data.encoded import Encoded, Files, Source, first_sound, sound
from toughen.data.kinds import check_kinds, visible_files
from toughen.data.source import DataSource, ImageSet, Split
from toughen.errors import DataError

TEST_FOLDERS = ("test", "val", "validation", "valid")


class ImageFolder(DataSource):
    """Your own images: PATH/train and PATH/test (or val), each with one folder of image files a class.

        PATH/train/cat/1.jpg   PATH/train/dog/7.png   PATH/test/cat/3.jpg   ...

    Class folders are sorted by name and searched with their subfolders; hidden files and folders are left
    out. Where both test and val exist, test is the test set and val is not used. A training run decodes every image
    before it begins, and names all that cannot be read; files of kinds that are not read, such as .gif, are an error,
    and such as .txt a warning.

    Args:
        path: the folder; with `test`, it may also hold the training set's class folders itself.
        test: another folder of class folders to be the test set.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the folder's name.
        skip_bad: leave out images that cannot be read, and files of kinds that are not, and say which.

    Raises:
        InputError: `size` or `channels` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        test: str | Path | None = None,
        size: int | None = None,
        channels: int = 3,
        name: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        check_format(size, channels)
        self.path = path
        self.test = test
        self.size = size
        self.channels = channels
        self.name = name
        self.skip_bad = skip_bad

    def load(self, split: Split) -> ImageSet:
        """The training or the test images, still encoded.

        Raises:
            DataError: a missing or empty folder, only one class, a class folder without images, files of kinds that
                are not read, other classes in the test set than in the training set, an unreadable first image.
        """
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder at {root}; expected one with train/ and test/, given by --data.path")
        train, test = self._train_folder(root), self._test_folder(root)
        folder = train if split == "train" else test
        if folder is None or not folder.is_dir():
            raise DataError(_missing(root, folder, split))
        classes = _classes(folder)
        other = test if split == "train" else train
        if other is not None and other.is_dir():
            _check_same_classes(folder, classes, other, _classes(other))
        source, labels = self._images(folder, classes)
        like = None
        if split == "test" and train is not None and train.is_dir() and self.size is None:
            like = Encoded(self._first(train, classes[0]), self.channels)
        images = Encoded(source, self.channels, self.size, like)
        return ImageSet(images, labels, tuple(classes), self.name or root.resolve().name)

    def _images(self, folder: Path, classes: list[str]) -> tuple[Source, torch.Tensor]:
        others: list[str] = []
        paths, labels = _files(folder, classes, others)
        check_kinds(others, self.skip_bad)
        source, numbers = Files(paths), torch.tensor(labels)
        return sound(source, numbers, self.channels, tuple(classes)) if self.skip_bad else (source, numbers)

    def _first(self, train: Path, name: str) -> Source:
        """The training set's first image, which sets the size."""
        files = Files(_files(train, [name], [])[0])
        return first_sound(files, self.channels) if self.skip_bad else files

    def _train_folder(self, root: Path) -> Path | None:
        if (root / "train").is_dir():
            return root / "train"
        return root if self.test is not None else None

    def _test_folder(self, root: Path) -> Path | None:
        if self.test is not None:
            return Path(self.test).expanduser()
        return next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)


def _missing(root: Path, folder: Path | None, split: Split) -> str:
    if folder is not None:
        return f"no folder at {folder}; expected one folder of images a class, given by --data.test"
    found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
    names = "train" if split == "train" else " or ".join(TEST_FOLDERS[:2])
    return f"{root} has no folder {names}; found: {found}. Name the test images' folder with --data.test"


def _classes(folder: Path) -> list[str]:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} has no class folders; expected one folder of images a class")
    if len(classes) == 1:
        raise DataError(f"{folder} has one class folder, {classes[0]}; expected at least two classes to tell apart")
    return classes


def _check_same_classes(folder: Path, classes: list[str], other: Path, other_classes: list[str]) -> None:
    differing = sorted(set(classes) ^ set(other_classes))
    if differing:
        owners = (f"{name} only in {folder if name in classes else other}" for name in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise DataError(
            f"training and test classes differ: {'; '.join(owners)}{more}; give both the same class folders"
        )


def _files(folder: Path, classes: list[str], others: list[str]) -> tuple[list[str], list[int]]:
    """Images and labels; the class folders' other files are added to `others`."""
    from torchvision.datasets.folder import IMG_EXTENSIONS  # here: it takes a second to import

    paths, labels = [], []
    for number, name in enumerate(classes):
        files = visible_files(folder / name)
        images = [path for path in files if path.lower().endswith(IMG_EXTENSIONS)]
        if not images:
            raise DataError(
                f"class folder {folder / name} has no image; expected files ending in "
                f"{', '.join(IMG_EXTENSIONS)}. Add images or remove the folder"
            )
        paths += images
        labels += [number] * len(images)
        others += [path for path in files if not path.lower().endswith(IMG_EXTENSIONS)]
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if loose := [name for name in names if name.lower().endswith(IMG_EXTENSIONS)]:
        raise DataError(
            f"{folder} has {len(loose):,} images in no class folder, such as {loose[0]}; move them into one"
        )
    return paths, labels
