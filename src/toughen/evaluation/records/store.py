"""The verdicts of an unfinished evaluation on disk, so that a killed one goes on where it stopped.

<folder>/verdicts/<first digits of the key>/evaluation.json      what is evaluated, and how
                                           /00003-fgsm.parquet    a batch under an attack
                                           /00003-fgsm.safetensors  a few images of it, for the report
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pyarrow.compute as pc
from safetensors.torch import save_file

from toughen.attacks.base import AUDIT
from toughen.errors import RunError, ToughenWarning
from toughen.evaluation.audit import is_of_audit, parts_of
from toughen.evaluation.gallery import read_candidates
from toughen.evaluation.records.batches import CLEAN, BatchResult, DamagedError
from toughen.evaluation.records.probe import what_changed
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.spec import EvaluationSpec
from toughen.evaluation.records.verdicts import CLEAN_FIELDS, Verdicts, attack_fields
from toughen.reading.analyses import check_analyses
from toughen.reading.files import read_json
from toughen.reading.schema import UnfitError
from toughen.run import RunFolder, atomic

FOLDER = "verdicts"


class Note(TypedDict):
    """What an analysis found."""

    settings: dict[str, Any]


class VerdictStore:
    """The units of one evaluation in a run's folder: in a folder named by the evaluation's key, which each holds.

    Args:
        folder: the run's folder.
        spec: what is evaluated, and how.
    """

    def __init__(self, folder: RunFolder, spec: EvaluationSpec) -> None:
        self.spec = spec
        self.path = folder.path / FOLDER / spec.key[:16]

    def begin(self) -> None:
        """Say what the files belong to; an evaluation that goes on says it again.

        Files of a model that answered otherwise, which its key does not show, are deleted with a `ToughenWarning`.

        Raises:
            RunError: the disk cannot be written, or the folder belongs to another evaluation.
        """
        file = self.path / "evaluation.json"
        if file.exists():
            there = EvaluationSpec.read(file)
            if there.key != self.spec.key:
                raise RunError(f"{self.path} belongs to another evaluation; move it away")
            if not same_answers(self.spec, there.probe, self.path):
                shutil.rmtree(self.path, ignore_errors=True)  # another shard may be writing
        self.spec.write(file)

    def write(self, unit: BatchResult) -> None:
        """Keep a unit.

        Raises:
            RunError: the disk cannot be written.
        """
        path = self._of(unit.batch, unit.name)
        if unit.pictures:
            with atomic(path.with_suffix(".safetensors")) as temporary:
                save_file(dict(unit.pictures), temporary)
        # Last, because its presence says that the unit is complete.
        unit.write(path, self.spec.key)

    def read(self, batch: int, name: str) -> BatchResult | None:
        """A unit, or None where it has not been computed, or is damaged: then a `ToughenWarning` says so.

        Raises:
            RunError: a file of another evaluation.
        """
        path = self._of(batch, name)
        if not path.exists():
            return None
        try:
            unit, pictures = BatchResult.read(path, self.spec.key), path.with_suffix(".safetensors")
            self._check(unit, batch, name)
            return unit if not pictures.exists() else replace(unit, pictures=read_candidates(pictures, len(unit.table)))
        except (DamagedError, OSError, UnfitError) as error:
            _say_damaged(path, error)
            return None

    def _check(self, unit: BatchResult, batch: int, name: str) -> None:
        """Raise unless a unit is the one that its file's name says, of as many images and classes as planned."""
        images = len(unit.table) if name == AUDIT else self.spec.images_in(batch)
        if (unit.batch, unit.name, len(unit.table)) != (batch, name, images):
            raise UnfitError(f"it holds {len(unit.table)} images of batch {unit.batch} under {unit.name}")
        classes = len(self.spec.protocol.get("data", {}).get("classes", [])) or None
        columns = ("label", "clean_prediction") if name == CLEAN else (f"{name}_prediction",)
        if classes and any((pc.max(unit.table[column]).as_py() or 0) >= classes for column in columns):
            raise UnfitError(f"expected labels and predictions below {classes}")

    def audited(self) -> list[BatchResult]:
        """The parts of an audit that follow each other from the first on."""
        units: list[BatchResult] = []
        while (unit := self.read(len(units), AUDIT)) is not None:
            units.append(unit)
        return units

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep the result of an analysis."""
        with atomic(self._file(f"analysis-{name}.json")) as path:
            path.write_text(json.dumps(facts))

    def noted(self, name: str) -> dict[str, Any] | None:
        """The result of an analysis, or None where it has not been computed, or is damaged, which a warning says."""
        path = self._file(f"analysis-{name}.json")
        if not path.exists():
            return None
        try:
            note: dict[str, Any] = read_json(path, Note)
            check_analyses({name: note})
        except (OSError, UnfitError) as error:
            _say_damaged(path, error)
            return None
        return note

    def notes(self) -> dict[str, dict[str, Any]]:
        """The results of all analyses, by name."""
        names = sorted(path.stem.removeprefix("analysis-") for path in self.path.glob("analysis-*.json"))
        return {name: note for name in names if (note := self.noted(name)) is not None}

    def restore(self, verdicts: Verdicts, result: Mapping[str, Any]) -> None:
        """Write the units of a finished evaluation again, so that it can go on.

        What a result holds only in sum (seconds, warnings, the second look) lies with the first batch; its pictures
        stay away.

        Raises:
            RunError: the disk cannot be written.
        """

        def in_sum(name: str) -> dict[str, Any]:
            """Of all batches under an attack."""
            return {"seconds": result["seconds"].get(name, 0.0), "repeated": result.get("repeated", {}).get(name, 0)}

        self.begin()
        columns = [field.name for field in CLEAN_FIELDS]
        for unit in parts_of(verdicts, self.spec, result["versions"]):
            self.write(replace(unit, **in_sum(AUDIT)) if unit.batch == 0 else unit)
        for name in (CLEAN, *(name for name in verdicts.attacks if name != AUDIT)):
            own = [field.name for field in attack_fields(name, True) if field.name in verdicts.table.column_names]
            table = verdicts.table.select(columns if name == CLEAN else ["index", *own]).replace_schema_metadata(None)
            for batch in range(self.spec.batches):
                unit = BatchResult(
                    batch,
                    name,
                    table.slice(batch * self.spec.size, self.spec.images_in(batch)),
                    versions=result["versions"],
                )
                if batch == 0:
                    unit = replace(
                        unit,
                        **in_sum(name),
                        warnings=tuple(each for each in result["warnings"] if name == CLEAN and not is_of_audit(each)),
                        again=result.get("judged_again", {}) if name == verdicts.attacks[0] else {},
                    )
                self.write(unit)
        for name, note in result["analyses"].items():
            self.note(name, note)

    def plan(self, shard: Shard, analyses: Mapping[str, Any]) -> None:
        """Keep which analyses a shard was started with, by name with their settings, whichever of them are its own."""
        with atomic(self.path / f"planned-{shard.number}-of-{shard.count}.json") as path:
            path.write_text(json.dumps(analyses))

    def planned(self) -> dict[Path, dict[str, Any]]:
        """What `plan` kept, by file; a damaged one says nothing."""
        found = {}
        for path in sorted(self.path.glob("planned-*.json")):
            with suppress(OSError, UnfitError):
                found[path] = read_json(path, dict[str, Any])
        return found

    def remove(self) -> None:
        """Delete them: everything that they hold is in the result."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def _of(self, batch: int, name: str) -> Path:
        return self._file(f"{batch:05d}-{name}.parquet")

    def _file(self, name: str) -> Path:
        """A file in the folder, of which a stranger's result may have named what it holds.

        Raises:
            RunError: the name leads elsewhere.
        """
        if not re.fullmatch(r"[^/\\\0]+", name):
            raise RunError(f"{self.path}: {name!r} cannot be the name of a file; was the result written by toughen?")
        return self.path / name


def _say_damaged(path: Path, error: Exception) -> None:
    warnings.warn(f"cannot read {path} ({error}): it is computed again", ToughenWarning, stacklevel=3)


def same_answers(spec: EvaluationSpec, before: Mapping[str, Any], place: Path) -> bool:
    """Whether the model gives for a few images what it gave `before`; where not, a `ToughenWarning` says so."""
    changed = what_changed(spec.probe, before)
    if changed:
        warnings.warn(
            f"the verdicts in {place} are of a model with other {changed} on the same images, although its weights, "
            "code and settings look the same: they are not used, and the evaluation begins anew",
            ToughenWarning,
            stacklevel=3,
        )
    return not changed


def has_parts(folder: RunFolder) -> bool:
    """Whether parts of an evaluation were begun in a run's folder; a kill may have left no more than their folder."""
    return (folder.path / FOLDER).is_dir()


def unfinished(folder: RunFolder) -> list[VerdictStore]:
    """The evaluations in a run's folder that have parts there, finished or not.

    Raises:
        RunError: a damaged evaluation.json.
    """
    files = sorted((folder.path / FOLDER).glob("*/evaluation.json"))
    return [VerdictStore(folder, EvaluationSpec.read(file)) for file in files]
