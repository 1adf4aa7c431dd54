"""The files of a run folder, read once for its report."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from toughen.errors import RunError
from toughen.evaluation.records.verdicts import Verdicts
from toughen.run import RunFolder

GALLERY = (
    *("clean", "adversarial", "labels", "kinds", "clean_predictions", "adversarial_predictions"),
    *("clean_confidences", "adversarial_confidences"),
)
_RESTORE = "restore it, or move it away to leave it out"


@dataclass(frozen=True)
class RunData:
    """Everything that a section may show. A file that the folder lacks gives an empty value.

    Attributes:
        name: the folder's own name.
        config: config.yaml as plain data.
        metrics: metrics.csv by column; NaN where a cell is empty.
        result: result.json.
        verdicts: verdicts.parquet; None where there is none.
        gallery: gallery.safetensors by tensor.
    """

    name: str
    config: dict[str, Any]
    metrics: dict[str, list[float]]
    result: dict[str, Any]
    verdicts: Verdicts | None
    gallery: dict[str, NDArray[Any]]

    def class_title(self, label: int) -> str:
        """Name of a class, or its number where the result does not name it; below 0 is no prediction."""
        if label < 0:
            return "nothing (NaN)"
        classes = self.result.get("data", {}).get("classes") or []
        return str(classes[label]) if label < len(classes) else str(label)


def read_run(folder: RunFolder) -> RunData:
    """Read what there is in a run folder.

    Raises:
        RunError: no such folder; neither a result nor metrics in it; a file that cannot be read (named).
    """
    folder.require()
    if not folder.result.exists() and not folder.metrics.exists():
        folder.require(folder.result)
    return RunData(
        name=folder.path.absolute().name,
        config=read_config(folder),
        metrics=read_metrics(folder.metrics) if folder.metrics.exists() else {},
        result=read_result(folder) if folder.result.exists() else {},
        verdicts=Verdicts.read(folder.verdicts) if folder.verdicts.exists() else None,
        gallery=_read_gallery(folder.gallery) if folder.gallery.exists() else {},
    )


def read_config(folder: RunFolder) -> dict[str, Any]:
    """The configuration; empty where there is none.

    Raises:
        RunError: config.yaml is damaged.
    """
    if not folder.config.exists():
        return {}
    with _readable(folder.config, _RESTORE):
        config = folder.read_config()
        if not isinstance(config, dict):
            raise ValueError(f"expected settings such as 'epochs: 30', got {config!r}")
        return config


def read_metrics(path: Path) -> dict[str, list[float]]:
    """The columns of a metrics.csv.

    Raises:
        RunError: a cell that is not a number.
    """
    with _readable(path, _RESTORE), path.open(newline="") as file:
        rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else {}) if name is not None]
        return {name: [float(row[name]) if row[name] else float("nan") for row in rows] for name in names}


def read_result(folder: RunFolder) -> dict[str, Any]:
    """Contents of `result.json`.

    Raises:
        RunError: missing or damaged; a schema that this version does not know.
    """
    folder.require(folder.result)
    with _readable(folder.result, f"make it again with `toughen evaluate {folder.path} --overwrite`"):
        result: dict[str, Any] = json.loads(folder.result.read_text())
    if result.get("schema") != 1:
        raise RunError(
            f"{folder.result}: expected schema 1, got {result.get('schema')!r}; it comes from another "
            f"version of toughen: evaluate again with `toughen evaluate {folder.path} --overwrite`"
        )
    return result


def _read_gallery(path: Path) -> dict[str, NDArray[Any]]:
    with _readable(path, f"make it again with `toughen evaluate {path.parent} --overwrite`"):
        tensors: dict[str, NDArray[Any]] = load_file(path)
        missing = [name for name in GALLERY if name not in tensors]
        if missing:
            raise ValueError(f"no tensor named {', '.join(missing)}")
        return tensors


@contextmanager
def _readable(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError, yaml.YAMLError) as error:
        raise RunError(f"cannot read {path}: {error}; {advice}") from error
