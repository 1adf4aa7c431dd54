"""A bit that was turned in what an evaluation wrote is found."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from toughen.errors import RunError
from toughen.evaluation import Evaluation
from toughen.evaluation.records.verdicts import Verdicts


def test_every_bit_of_the_values_of_a_table_counts(standard: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.parquet"
    standard.verdicts.write(path)
    sound = path.read_bytes()
    with pq.ParquetFile(path) as file:
        groups = file.metadata.row_group(0)
        chunks = [groups.column(number) for number in range(groups.num_columns)]
    for chunk in chunks:
        turned = bytearray(sound)
        begin = chunk.dictionary_page_offset or chunk.data_page_offset
        turned[begin + chunk.total_compressed_size - 1] ^= 1
        path.write_bytes(bytes(turned))
        with pytest.raises(RunError):
            Verdicts.read(path)
    path.write_bytes(sound)
    assert Verdicts.read(path).table.equals(standard.verdicts.table)
