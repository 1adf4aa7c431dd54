"""Finding shards, and the columns in those of Parquet."""

import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pyarrow as pa

from toughen.data.source import Split
from toughen.data.splits import NAMES
from toughen.errors import DataError
from toughen.reading.files import from_json, readable
from toughen.reading.schema import check_kind
from toughen.reading.tables import read_columns, read_schema

LABELS = ("label", "labels", "fine_label", "fine_labels")
AGAIN = "download or write it again"


class Feature(TypedDict):
    """A column, as the Hugging Face metadata describe it."""

    names: NotRequired[list[str] | None]


class Info(TypedDict):
    """The metadata's part on the columns."""

    features: NotRequired[dict[str, Any]]


class _About(TypedDict):
    """The Hugging Face metadata."""

    info: NotRequired[Info]


def find_shards(root: Path, split: Split, ending: str = "parquet") -> list[Path]:
    """A split's shards in order; empty if there are none.

    Raises:
        DataError: `...-00002-of-00005.parquet` are there, but not all five.
    """
    for name in NAMES[split]:
        for pattern in (f"{name}-*.{ending}", f"{name}.{ending}", f"{name}/*.{ending}"):
            for folder in (root, root / "data"):
                if shards := sorted(folder.glob(pattern)):
                    _check_complete(shards)
                    return shards
    return []


def _check_complete(shards: list[Path]) -> None:
    parts = [re.search(r"-(\d+)-of-(\d+)", shard.name) for shard in shards]
    numbers = {int(part[1]) for part in parts if part}
    count = max((int(part[2]) for part in parts if part), default=0)
    first = next((number for number in range(min(count, len(numbers) + 1)) if number not in numbers), None)
    if first is not None:  # counted, as a name may say that there are 10^15
        missing = count - sum(number < count for number in numbers)
        raise DataError(
            f"{shards[0].parent} lacks shard {first:05d} of the set that {shards[0].name} belongs to "
            f"({missing} missing, {len(shards)} found); download the rest"
        )


def shard_schema(shard: Path) -> pa.Schema:
    """The Arrow schema of a shard.

    Raises:
        DataError: not a Parquet file, or a truncated one.
    """
    with readable(shard, AGAIN, DataError):
        return read_schema(shard)


def read_column(shard: Path, column: str, rows: int | None = None) -> pa.ChunkedArray:
    """One column of a shard, or only its first rows.

    Raises:
        DataError: the file is damaged, or unpacks to far more than its size.
    """
    with readable(shard, AGAIN, DataError):
        return read_columns(shard, [column], rows).column(column)


def image_column(schema: Any, chosen: str | None, shard: Path) -> str:
    """The column with the encoded images: `chosen`, or the first struct with a `bytes` field.

    Raises:
        DataError: there is none, or `chosen` does not hold bytes.
    """
    if chosen is None:
        found = next((field.name for field in schema if _struct_with_bytes(field.type)), None)
        if found is None:
            raise DataError(
                f"{shard} has no image column (a struct with encoded bytes); columns: {_columns(schema)}; "
                "name it with --data.image"
            )
        return found
    if chosen not in schema.names or not (
        _struct_with_bytes(schema.field(chosen).type) or _binary(schema.field(chosen).type)
    ):
        raise DataError(
            f"{shard} has no column {chosen!r} of encoded image bytes (--data.image); columns: {_columns(schema)}"
        )
    return chosen


def label_column(schema: Any, chosen: str | None, shard: Path) -> str:
    """The column with the labels: `chosen`, or one with a usual name, or the only integer column.

    Raises:
        DataError: there is none, or `chosen` does not hold integers.
    """
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    if chosen is not None:
        if chosen not in integers:
            raise DataError(f"{shard} has no integer column {chosen!r} (--data.label); columns: {_columns(schema)}")
        return chosen
    usual = next((name for name in LABELS if name in integers), None)
    if usual is None and len(integers) != 1:
        raise DataError(
            f"{shard} has no integer column named {', '.join(LABELS)}; columns: {_columns(schema)}; "
            "name it with --data.label"
        )
    return usual or integers[0]


def class_names(schema: pa.Schema, label: str, shard: Path) -> tuple[str, ...]:
    """The label column's class names from the Hugging Face metadata; empty if there are none.

    Raises:
        DataError: that is damaged.
    """
    metadata = (schema.metadata or {}).get(b"huggingface")
    if not metadata:
        return ()
    with readable(shard, "mend its metadata 'huggingface', or leave it out", DataError):
        features = from_json(metadata, _About).get("info", {}).get("features", {})
        feature = features.get(label, {})
        check_kind(feature, Feature, f"info.features.{label}")
        return tuple(feature.get("names") or ())


def _struct_with_bytes(kind: Any) -> bool:
    return pa.types.is_struct(kind) and any(field.name == "bytes" and _binary(field.type) for field in kind)


def _binary(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _columns(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
