"""What a run's folder holds, without what is another in every run."""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

TIMES = {
    *("seconds", "created", "images_per_second", "flops_per_second", "share_of_peak"),
    *("peak_memory_bytes", "device_hours", "device_seconds"),
}
_IN_REPORTS = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.+]+|(&lt; )?[\d,.]+ (s|min|h|images a second)\b|[0-9a-f]{64} -->")


def without_times(value: Any) -> Any:
    """Plain data without what is another in every run; pairs, as in state.json, are read as names and values."""
    if isinstance(value, dict):
        if set(value) == {"items"}:
            value = {str(name): item for name, item in value["items"]}
        return {name: without_times(item) for name, item in value.items() if name not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, Any]:
    """What the folder holds, file by file, without times."""
    return {str(path.relative_to(folder)): None if path.is_dir() else _of(path) for path in sorted(folder.rglob("*"))}


def _of(file: Path) -> Any:
    import pyarrow.parquet as pq
    from safetensors.torch import load_file

    if file.name == "manifest.json":
        return _sums(file)
    if file.name == "metrics.csv":
        with file.open(newline="") as lines:
            return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(lines)]
    if file.suffix == ".json":
        return without_times(json.loads(file.read_text()))
    if file.suffix == ".safetensors":
        return {key: (tensor.dtype, tuple(tensor.shape), digest(tensor)) for key, tensor in load_file(file).items()}
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pydict()
    if file.suffix == ".html":
        return _IN_REPORTS.sub("", file.read_text())
    return file.read_bytes()


def digest(tensor: Any) -> bytes:
    return hashlib.sha256(tensor.numpy().tobytes()).digest()


def _sums(file: Path) -> dict[str, bool]:
    """Which files a manifest knows, and whether each is there with exactly the checksum that it says."""
    document = json.loads(file.read_text())
    own = hashlib.sha256(json.dumps(document["sha256"], sort_keys=True).encode()).hexdigest()
    assert document["own"] == own
    return {name: sums == _checksums(file.parent, name) for name, sums in document["sha256"].items()}


def _checksums(folder: Path, name: str) -> list[str]:
    # The headline's copies lie in the run's folder, their checksums among the evaluations.
    places = [place for place in (folder / name, folder.parent / name) if place.exists()]
    return [hashlib.sha256(place.read_bytes()).hexdigest() for place in places[:1]]


def differing(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of files that are missing, left over or have another content."""
    return sorted(name for name in expected | found if expected.get(name, 0) != found.get(name, 0))


def left_over(folder: Path) -> list[str]:
    """Files and folders that did not get their name, and locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))
