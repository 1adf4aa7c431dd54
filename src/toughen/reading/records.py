"""Rows of plain values from .csv, .tsv, .jsonl and .parquet files, by column."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa

from toughen.reading.files import from_json, read_text
from toughen.reading.schema import UnfitError
from toughen.reading.tables import read_columns, read_schema

LARGEST = 512 * 2**20
"""Bytes of text: some million rows."""
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def read_records(path: Path) -> dict[str, list[Any]]:
    """The columns of a table by name, all of one length; a row lacks what is None.

    Raises:
        OSError: it is not there.
        UnfitError: damaged, or of another kind.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UnfitError(f"expected a file ending in {', '.join(ENDINGS)}")
    if ending == ".parquet":
        return _parquet(path)
    # Spreadsheets put a mark before the first name.
    text = read_text(path, LARGEST).removeprefix("\ufeff")
    return _lines_of_json(text) if ending in (".jsonl", ".ndjson") else _separated(text, ending)


def _parquet(path: Path) -> dict[str, list[Any]]:
    schema = read_schema(path)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)
    plain = [field.name for field in schema if any(is_kind(_values(field.type)) for is_kind in kinds)]
    if len(set(schema.names)) < len(schema.names):
        raise UnfitError("it has two columns of one name")
    if not plain:
        raise UnfitError("it has no column of text or whole numbers")
    table = read_columns(path, plain)
    return {name: table[name].to_pylist() for name in plain}


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _separated(text: str, ending: str) -> dict[str, list[Any]]:
    header = text.partition("\n")[0]
    # Some languages' spreadsheets write semicolons.
    by = "\t" if ending == ".tsv" else ";" if header.count(";") > header.count(",") else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=by, strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
        if len(set(names)) < len(names):
            raise UnfitError("its first line has two columns of one name")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            if row and len(row) != len(names):
                raise UnfitError(f"line {rows.line_num} has {len(row)} cells, the first line {len(names)}")
            for name, value in zip(names, row, strict=False):
                columns[name].append(value)
    except csv.Error as error:
        raise UnfitError(f"line {rows.line_num}: {error}") from error
    return columns


def _lines_of_json(text: str) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(from_json(line, dict[str, Any]))
        except UnfitError as error:
            raise UnfitError(f"line {number}: {error}") from error
    names = dict.fromkeys(name for row in rows for name in row)
    if len(names) > 1000:
        raise UnfitError(f"its rows have {len(names):,} names together, expected the same few in each")
    return {name: [row.get(name) for row in rows] for name in names}
