"""Image sets of the Hugging Face library `datasets`: by name from the hub, or from a folder."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from toughen.data.collection import Found, Part, Splittable
from toughen.data.hub_columns import classes_in, has_labels, image_column_of, label_column_of, labels_of, names_of
from toughen.data.source import Split
from toughen.data.splits import NAMES
from toughen.errors import DataError
from toughen.extras import library
from toughen.reading.files import check_file, readable


class HuggingFace(Splittable):
    """An image set of the library `datasets`: a name on the Hugging Face hub, or a folder.

    The folder is one of `save_to_disk`, or one that `load_dataset` reads. Images are the column of that type, labels
    one of class labels, whole numbers or names. `test`, or else `validation`, is the test set, where its rows have
    labels; without either, `test_share` of every class is drawn, and a run keeps which. Rows stay on the disk until
    they are needed. No code of the data set is run.

    Needs the extra `datasets`.

    Args:
        path: name on the hub, such as uoft-cs/cifar10, or a folder.
        config: the data set's configuration, where it has several.
        revision: commit, branch or tag on the hub; default the newest.
        train: name of the split to train on; default train.
        test: name of the split to test on; default test, validation or the like.
        image: column of the images; default the first one of that type.
        label: column of the labels; default label, labels, fine_label or the only one of class labels.
        size: resize each image's shorter side to this and cut out the middle square; None requires one size.
        channels: 3 (RGB) or 1 (grey).
        name: title of figures made on this data; default the last part of the path.
        skip_bad: leave out images that cannot be read, and say which.
        test_share: share of every class that is drawn as the test set, where there is none.
        seed: decides which images those are. Figures of two seeds are not comparable.

    Raises:
        InputError: `size`, `channels`, `test_share` or `seed` out of range.
    """

    def __init__(
        self,
        path: str | Path,
        config: str | None = None,
        revision: str | None = None,
        train: str | None = None,
        test: str | None = None,
        image: str | None = None,
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
        self.config = config
        self.revision = revision
        self.train = train
        self.test = test
        self.image = image
        self.label = label

    def find(self, splits: Sequence[Split]) -> Found:
        """The rows of both splits, or of the only one.

        Raises:
            DataError: no such data set, or none that can be loaded; no fitting column; a row without a label.
        """
        chosen = self._chosen(self._loaded(), splits)
        title, first = str(self.path), next(iter(chosen.values()))
        image, label = image_column_of(first, self.image, title), label_column_of(first, self.label, title)
        labels = {split: labels_of(rows, label, title) for split, rows in chosen.items()}
        classes, numbers = classes_in(list(chain(*labels.values())), names_of(first, label, title), title)
        parts: dict[Split | None, Part] = {}
        for split, rows in chosen.items():
            own, numbers = numbers[: len(rows)], numbers[len(rows) :]
            parts[split] = Part(HubRows(rows, image, f"{title} {rows.split or ''}".strip()), own)
        return Found(parts, classes, Path(self.path).name)

    def _loaded(self) -> Mapping[str, Any]:
        """The data set's splits by name; one without a name is called ''."""
        datasets = library("datasets", "datasets")
        folder = Path(self.path).expanduser()
        try:
            if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                found = datasets.load_from_disk(str(folder))
            elif folder.is_dir() and any(folder.glob("*.py")):
                # Older versions of the library would run it.
                raise DataError(f"{next(folder.glob('*.py'))} is a program; only folders without one are read")
            else:
                found = datasets.load_dataset(
                    str(folder) if folder.is_dir() else str(self.path), self.config, revision=self.revision
                )
            splits = found if isinstance(found, dict) else {"": found}
            for rows in splits.values():
                rows.data.validate(full=True)  # offsets that lead elsewhere would be followed
        except DataError:
            raise
        except Exception as error:  # the library's own, and those of whatever it reads with
            why = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise DataError(
                f"cannot load the data set {self.path}: {why}; expected a name on the hub, or a folder of save_to_disk"
            ) from error
        return splits

    def _chosen(self, there: Mapping[str, Any], splits: Sequence[Split]) -> dict[Split | None, Any]:
        """The rows of each split; all under None where there are no splits."""
        asked: dict[Split, str | None] = {"train": self.train, "test": self.test}
        found: dict[Split | None, Any] = {}
        for split, name in asked.items():
            if name is not None and name not in there:
                raise DataError(f"{self.path} has no split {name} (--data.{split}); it has {', '.join(there)}")
            usual = (each for each in NAMES[split] if each in there)
            # The labels of many published test sets are kept secret.
            usual = (each for each in usual if split == "train" or has_labels(there[each], self.label, str(self.path)))
            chosen = name if name is not None else next(usual, None)
            if chosen is not None:
                found[split] = there[chosen]
        if "test" not in found and (len(there) == 1 or "train" in found):
            return {None: found.get("train", next(iter(there.values())))}
        missing = [split for split in splits if split not in found]
        if missing:
            raise DataError(
                f"{self.path} has no {missing[0]} split among {', '.join(there)}; name it with --data.{missing[0]}"
            )
        return found


class HubRows:
    """One encoded image a row, on the disk until it is asked for.

    Args:
        rows: a `datasets.Dataset`.
        image: the column of the images.
        title: what it is called in errors.
    """

    def __init__(self, rows: Any, image: str, title: str) -> None:
        encoded = library("datasets", "datasets").Image(decode=False)
        self.rows = rows.with_format(None).select_columns([image]).cast_column(image, encoded)
        self.image = image
        self.title = title

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, index: int) -> BinaryIO:
        """The encoded image.

        Raises:
            DataError: the row has none, or names a file that has gone.
        """
        row = self.rows[index][self.image] or {}
        if row.get("bytes") is not None:
            return BytesIO(row["bytes"])
        if not row.get("path"):
            raise DataError(f"{self.where(index)} has no image; remove it or leave it out")
        path = Path(row["path"])
        with readable(path, "restore it or leave it out", DataError):
            check_file(path)
            return path.open("rb")

    def where(self, index: int) -> str:
        """The data set, and the row, counted from 0."""
        return f"{self.title} row {index}"

    def name(self, index: int) -> str:
        """The row."""
        return f"row {index}"
