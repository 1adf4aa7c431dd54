"""A sweep as one HTML file."""

from pathlib import Path

from toughen.search.records import SweepRecord


def write_sweep(record: SweepRecord) -> Path:
    return record.folder / "report.html"
