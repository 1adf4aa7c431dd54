"""The files of a run folder, read once for its report."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from toughen.evaluation.gallery import read_gallery
from toughen.evaluation.records.evaluations import Evaluations
from toughen.evaluation.records.verdicts import Verdicts
from toughen.reading.files import readable
from toughen.reading.run_images import RunImages
from toughen.reports.explained import Told, told_by_analyses
from toughen.run import RunFolder
from toughen.run.manifest import check
from toughen.training.guards.events import read_events
from toughen.training.log import read_rows
from toughen.training.trace.record import Record, read_record


@dataclass(frozen=True)
class StartEvaluation:
    """The evaluation of the network that a run started from.

    Attributes:
        result: its result.json.
        verdicts: its verdicts.parquet.
    """

    result: dict[str, Any]
    verdicts: Verdicts


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
        evaluations: all of a run's, as folder name and result, the headline first; empty for one of them.
        images: data.json: classes and counts of the run's images, what was odd and left out; None in older runs.
        events: what the guards of the training found and did, in words.
        record: what the training recorded of itself, where it did.
        before: the network that the run started from; None where it was a new one.
        explained: what analyses of its weights found; empty for one evaluation.
    """

    name: str
    config: dict[str, Any]
    metrics: dict[str, list[float]]
    result: dict[str, Any]
    verdicts: Verdicts | None
    gallery: dict[str, NDArray[Any]]
    evaluations: tuple[tuple[str, dict[str, Any]], ...] = ()
    events: tuple[str, ...] = ()
    images: RunImages | None = None
    before: StartEvaluation | None = None
    record: Record = field(default_factory=Record)
    explained: tuple[Told, ...] = ()

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
    beside = Evaluations(folder).all() if folder.path == folder.run else []
    return RunData(
        name=folder.name,
        config=folder.read_config() if folder.config.exists() else {},
        metrics=read_metrics(folder.metrics) if folder.metrics.exists() else {},
        result=folder.read_result() if folder.result.exists() else {},
        verdicts=Verdicts.read(folder.verdicts) if folder.verdicts.exists() else None,
        gallery=_read_gallery(folder) if folder.gallery.exists() else {},
        evaluations=tuple((place.path.name, result) for place, result in beside),
        events=tuple(map(str, read_events(folder.events))),
        images=folder.read_data(),
        before=_read_start(RunFolder(folder.before)),
        record=read_record(folder),
        explained=told_by_analyses(folder) if folder.path == folder.run else (),
    )


def _read_start(folder: RunFolder) -> StartEvaluation | None:
    if not folder.result.exists():
        return None
    return StartEvaluation(folder.read_result(), Verdicts.read(folder.verdicts))


def read_metrics(path: Path) -> dict[str, list[float]]:
    """The columns of a metrics.csv; NaN where a cell is empty.

    Raises:
        RunError: a cell that is not a number.
    """
    rows = read_rows(path)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, math.nan) for row in rows] for name in names}


def _read_gallery(folder: RunFolder) -> dict[str, NDArray[Any]]:
    advice = f"make it again with `toughen evaluate {folder.run} --overwrite`"
    check(folder.gallery, advice)
    with readable(folder.gallery, advice):
        return {name: tensor.numpy() for name, tensor in read_gallery(folder.gallery).items()}
