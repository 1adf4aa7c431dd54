"""Tables from Parquet files, never larger than the file can hold."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toughen.reading.files import check_file, check_unpacked, from_json
from toughen.reading.schema import UnfitError

BATCH = 1024
"""Rows that are unpacked before their size is looked at."""


def read_columns(path: Path, columns: Sequence[str] | None = None, rows: int | None = None) -> pa.Table:
    """Columns of a Parquet file, all of them by default, or only their first rows.

    Raises:
        OSError: it is not there.
        UnfitError: damaged, or it unpacks to far more than its size.
    """
    size = check_file(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            check_unpacked(size, max(8 * file.metadata.num_rows, sum(group.total_byte_size for group in groups)))
            schema = file.schema_arrow
            chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns], schema.metadata)
            batches, unpacked = [], 0
            for batch in file.iter_batches(batch_size=min(BATCH, rows or BATCH), columns=columns):
                unpacked += batch.nbytes  # a dictionary gives every row as large a value as it likes
                check_unpacked(size, unpacked)
                batch.validate(full=True)
                batches.append(batch)
                if rows is not None:
                    break
            return pa.Table.from_batches(batches, chosen)
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError) as error:
        # A file that is no Parquet is an OSError or ArrowInvalid, which has lines below its first.
        raise UnfitError(f"it is not a readable Parquet file: {str(error).strip().partition(chr(10))[0]}") from error


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file, with the texts about it.

    Raises:
        OSError: it is not there.
        UnfitError: damaged.
    """
    check_file(path)
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnfitError(f"it is not a readable Parquet file: {str(error).strip().partition(chr(10))[0]}") from error


def read_table(path: Path, about: Any) -> tuple[pa.Table, Any]:
    """A table that this package wrote, and what it says of itself, of this type; see `check_kind`.

    Raises:
        OSError: it is not there.
        UnfitError: damaged, or of another kind.
    """
    table = read_columns(path)
    text = (table.schema.metadata or {}).get(b"toughen")
    if text is None:
        raise UnfitError("it is not a table of toughen")
    return table, from_json(text, about)


def check_columns(table: pa.Table, fields: Iterable[pa.Field]) -> None:
    """Raise unless a table of verdicts has these columns, each once, of these types, with values that they can have.

    Raises:
        UnfitError: naming the column.
    """
    for field in fields:
        found = [each for each in table.schema if each.name == field.name]
        if [each.type for each in found] != [field.type]:
            came = ", ".join(str(each.type) for each in found) or "none"
            raise UnfitError(f"column {field.name!r}: expected one of {field.type}, got {came}")
        column = table[field.name]
        if pa.types.is_boolean(field.type) and column.null_count:
            raise UnfitError(f"column {field.name!r}: {column.null_count:,} rows are empty")
        if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
            continue
        least, most = (end.as_py() for end in pc.min_max(column).values())
        lowest = -1 if field.name.endswith("prediction") else 0
        highest = 1 if field.name.endswith("confidence") else float("inf")
        if least is not None and (least < lowest or most > highest):
            raise UnfitError(f"column {field.name!r}: expected values from {lowest}, got {least} to {most}")
