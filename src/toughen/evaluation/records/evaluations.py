"""The finished evaluations of a run, each in a folder of its own, and the headline, which the run's own files repeat.

<run>/evaluations/standard-linf-8-255-1f2e3d4c/  verdicts.parquet, gallery.safetensors, result.json, report.html
<run>/evaluations/own.json                       those of the network and data that the run's config.yaml names
<run>/evaluations/manifest.json                  the headline's checksums, for its copies
<run>/verdicts.parquet, ...                      copies of the headline's

A kill between any two writes leaves what the next call goes on from: an evaluation's folder is there whole or not at
all, and of the copies result.json goes first and comes last.
"""

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Mapping
from filecmp import cmp
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from toughen.errors import RunError, ToughenWarning
from toughen.evaluation.audit import asked_of, is_estimate
from toughen.evaluation.records.spec import EvaluationSpec
from toughen.evaluation.records.store import same_answers
from toughen.evaluation.result import Evaluation
from toughen.numbers import as_text
from toughen.reading.files import read_json
from toughen.reading.schema import UnfitError
from toughen.run import EVALUATIONS, RunFolder, atomic
from toughen.run.manifest import NAME as MANIFEST
from toughen.run.manifest import UNSEALED, seal
from toughen.run.manifest import write as write_manifest
from toughen.threat import described_threat

FILES = ("verdicts", "gallery", "result")


class Own(TypedDict):
    """What own.json holds."""

    evaluations: list[str]
    model: NotRequired[str]
    data: NotRequired[Any]
    seal: NotRequired[str]


class Evaluations:
    """What evaluations of a run have left, beside each other.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = RunFolder(run.run)
        self.path = self.run.path / EVALUATIONS

    def folder(self, evaluation: EvaluationSpec | Mapping[str, Any]) -> RunFolder:
        """The folder of an evaluation.

        Args:
            evaluation: its spec or its result; a result of before there were keys is known by its content.
        """
        facts = _facts(evaluation)
        key = facts.get("key") or hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        threat = f"{facts['threat']['norm']}-{as_text(float(facts['threat']['eps']))}"
        return RunFolder(self.path / re.sub(r"[^\w.]+", "-", f"{facts['budget']}-{threat}-{key[:8]}"))

    def all(self) -> list[tuple[RunFolder, dict[str, Any]]]:
        """Each with its result, the headline first; a damaged one is left out with a `ToughenWarning`.

        The headline is the one that compares with RobustBench, or comes nearest to it: of the run's own network, data
        and threat model, complete, by AutoAttack standard, or an estimate of it, of the most images, by the largest
        budget; the newest.
        """
        found = []
        for path in sorted(self.path.glob("*/result.json")):
            if not path.parent.name.startswith("."):
                folder = RunFolder(path.parent)
                try:
                    found.append((folder, folder.read_result()))
                except RunError as error:
                    warnings.warn(str(error), ToughenWarning, stacklevel=2)
        own, threat = self._own()["evaluations"], self._threat()
        return sorted(found, key=lambda one: (one[0].path.name in own, *_rank(one[1], threat)), reverse=True)

    def finished(self, spec: EvaluationSpec) -> Evaluation | None:
        """The complete result of an evaluation, where it is there and of a model that still answers as it did.

        Raises:
            RunError: a result that cannot be read.
        """
        self.take_in()
        folder = self.folder(spec)
        if not folder.result.exists():
            return None
        there = Evaluation.load(folder)
        same = there.result["complete"] and same_answers(spec, there.result.get("probe", {}), folder.path)
        return there if same else None

    def load(self, spec: EvaluationSpec) -> Evaluation:
        """What there is of an evaluation.

        Raises:
            RunError: a file is missing or damaged.
        """
        return Evaluation.load(self.folder(spec))

    def add(self, evaluation: Evaluation) -> RunFolder:
        """Keep an evaluation in its folder.

        Raises:
            RunError: the disk cannot be written.
        """
        self.take_in()
        folder = self.folder(evaluation.result)
        with atomic(folder.path) as temporary:
            temporary.mkdir()
            evaluation.save(RunFolder(temporary))
            write_manifest(temporary)
        return folder

    def choose_headline(self) -> None:
        """Copy the headline's files to where the run's own are.

        Raises:
            RunError: the disk cannot be written.
        """
        pairs = [
            pair
            for folder, _ in self.all()[:1]
            for pair in (
                (folder.path / MANIFEST, self.path / MANIFEST),
                *((getattr(folder, name), getattr(self.run, name)) for name in FILES),
            )
        ]
        if all(_same(source, copy) for source, copy in pairs):
            return
        self.run.result.unlink(missing_ok=True)
        for source, copy in pairs:
            if source.exists():
                with atomic(copy) as temporary:
                    shutil.copyfile(source, temporary)
            else:
                copy.unlink(missing_ok=True)

    def take_in(self) -> None:
        """Give a result that an earlier version left among the run's own files a folder; mend what a kill has left.

        Raises:
            RunError: the disk cannot be written.
        """
        for old in self.path.glob(".*.old"):  # killed between the two renames that replace a folder
            if not (place := self.path / old.name[1:-4]).exists():
                old.rename(place)
        if not self.run.result.exists():
            return
        try:
            result = self.run.read_result()
        except RunError as error:
            warnings.warn(f"{error}; it is not kept", ToughenWarning, stacklevel=2)
            return
        folder = self.folder(result)
        if folder.result.exists():
            return
        with atomic(folder.path) as temporary:
            temporary.mkdir()
            for source in (getattr(self.run, name) for name in FILES):
                if source.exists():
                    shutil.copyfile(source, temporary / source.name)
            write_manifest(temporary)
        if not self._own()["evaluations"]:
            self.note_own(result)

    def note_own(self, evaluation: EvaluationSpec | Mapping[str, Any]) -> None:
        """Note that an evaluation is of the network and data that config.yaml names; those of earlier weights are not.

        Args:
            evaluation: its spec or its result.
        """
        facts = _facts(evaluation)
        known, name = self._own(), self.folder(facts).path.name
        own = {"model": facts["model"]["sha256"], "data": self._config().get("data")}
        names = known["evaluations"] if own == {part: known.get(part) for part in own} else []
        if name not in names:
            facts = {**own, "evaluations": [*names, name]}
            with atomic(self.path / "own.json") as path:
                path.write_text(json.dumps({**facts, "seal": seal(facts)}))

    def _own(self) -> dict[str, Any]:
        path = self.path / "own.json"
        try:
            facts = {**read_json(path, Own)}
            if facts.pop("seal", seal(facts)) != seal(facts):  # those of older versions have none
                raise UnfitError(UNSEALED)
            return facts
        except FileNotFoundError:
            return {"evaluations": []}
        except (OSError, UnfitError) as error:
            warnings.warn(
                f"{path} is damaged ({error}): which evaluations are of the run's own network and data is not known; "
                f"`toughen evaluate {self.run.path}` says it again of its own",
                ToughenWarning,
                stacklevel=2,
            )
            return {"evaluations": []}

    def _config(self) -> dict[str, Any]:
        return self.run.read_config() if self.run.config.exists() else {}

    def _threat(self) -> dict[str, Any] | None:
        threat = self._config().get("threat")
        if threat is None:
            return None
        own = described_threat(threat)
        return {"norm": own.norm, "eps": own.radius}


def _facts(evaluation: EvaluationSpec | Mapping[str, Any]) -> Mapping[str, Any]:
    return evaluation if isinstance(evaluation, Mapping) else {**evaluation.protocol, "key": evaluation.key}


def _rank(result: Mapping[str, Any], threat: Mapping[str, Any] | None) -> tuple[Any, ...]:
    budgets, estimate = ("quick", "fast", "standard", "thorough"), is_estimate(result)
    shown = not estimate or result["audit"]["audited"]  # else it is no more than an upper bound
    attack = result["attacks"].get("autoattack", asked_of(result).get("attack") if shown else None)
    return (
        threat is None or result["threat"] == threat,
        result.get("complete", True),
        0 if attack is None else 1 if estimate else 2 + attack.get("standard", False),
        result["robust_accuracy"]["n"],
        budgets.index(result["budget"]) if result["budget"] in budgets else -1,
        result.get("created", ""),
    )


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return one.exists() == other.exists()
    return cmp(one, other, shallow=False)
