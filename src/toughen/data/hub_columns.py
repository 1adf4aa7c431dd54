"""The columns of a Hugging Face data set: images and labels, found and read."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from toughen.data.shards import LABELS
from toughen.data.source import MOST_CLASSES
from toughen.data.splits import numbered
from toughen.errors import DataError
from toughen.extras import library
from toughen.reading.schema import shown


def image_column_of(rows: Any, chosen: str | None, title: str) -> str:
    """The column of images: `chosen`, or the first one.

    Raises:
        DataError: there is none, or `chosen` is no such column.
    """
    kind = library("datasets", "datasets").Image
    images = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
    if not images or (chosen is not None and chosen not in images):
        missing = "no column of images" if chosen is None else f"no column {chosen} of images"
        raise DataError(
            f"{title} has {missing}; columns: {', '.join(rows.features)}; cast one to datasets.Image(), or name "
            "another with --data.image"
        )
    return images[0] if chosen is None else chosen


def label_column_of(rows: Any, chosen: str | None, title: str) -> str:
    """The column of labels: `chosen`, or one with a usual name, or the only one of class labels.

    Raises:
        DataError: there is none.
    """
    columns, kind = dict(rows.features), library("datasets", "datasets").ClassLabel
    labelled = [name for name, feature in columns.items() if isinstance(feature, kind)]
    usual = [each for each in LABELS if each in columns] or (labelled if len(labelled) == 1 else [])
    found = [chosen] if chosen is not None else usual
    if not found or found[0] not in columns:
        raise DataError(
            f"{title} has no column {chosen or ' or '.join(LABELS)}; columns: {', '.join(columns)}; name that of the "
            "labels with --data.label"
        )
    return found[0]


def names_of(rows: Any, label: str, title: str) -> tuple[str, ...] | None:
    """The classes' names, where the data set says them.

    Raises:
        DataError: they are no names, or two are the same.
    """
    names = getattr(rows.features[label], "names", None)
    if names is None:
        return None
    if not all(isinstance(name, str) and name.isprintable() for name in names) or len(set(names)) < len(names):
        raise DataError(f"{title}: expected a name of its own for every class of column {label}, got {shown(names)}")
    return tuple(names)


def has_labels(rows: Any, chosen: str | None, title: str) -> bool:
    """Whether a split's labels are public: those of many test sets are kept secret, and written as -1."""
    return not set(labels_of(rows, label_column_of(rows, chosen, title), title)) <= {-1}


def labels_of(rows: Any, column: str, title: str) -> list[int | str]:
    """The labels as they are, whole numbers or names.

    Raises:
        DataError: they are something else, or a row has none.
    """
    values = rows.select_columns([column]).with_format("arrow")[:].column(column)
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{title}: labels of type {kind} in column {column}; choose another with --data.label")
    if values.null_count:
        raise DataError(f"{title}: {values.null_count:,} rows have no label in column {column}; remove them")
    found: list[int | str] = values.to_pylist()
    return found


def classes_in(
    labels: Sequence[int | str], names: tuple[str, ...] | None, title: str
) -> tuple[tuple[str, ...], list[int]]:
    """The classes' names, and the number of each label's class; whole numbers without names are counted from 0.

    Raises:
        DataError: numbers that count none of the classes.
    """
    numbers = [each for each in labels if isinstance(each, int)]
    if len(numbers) < len(labels):
        return numbered([str(each) for each in labels])
    least, most = min(numbers, default=0), max(numbers, default=0)
    count = most + 1 if names is None else len(names)
    if least < 0 or most >= count or count > MOST_CLASSES:
        raise DataError(
            f"{title}: labels of {least} .. {most}, expected 0 .. {min(count, MOST_CLASSES) - 1}; choose another "
            "split, or another column with --data.label"
        )
    return names or tuple(map(str, range(count))), numbers
