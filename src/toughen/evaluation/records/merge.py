"""Shards of an evaluation joined to what one process would have given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from toughen.attacks.base import FURTHER
from toughen.errors import InputError, RunError
from toughen.evaluation.records.batches import CLEAN, BatchResult
from toughen.evaluation.records.probe import what_changed
from toughen.evaluation.records.shards import Shard
from toughen.evaluation.records.spec import EvaluationSpec
from toughen.evaluation.records.store import VerdictStore, unfinished
from toughen.evaluation.result import Evaluation, summarise
from toughen.run import RunFolder


def find_parts(folders: Sequence[RunFolder], key: str | None = None) -> list[VerdictStore]:
    """The parts of one evaluation in these folders.

    Args:
        folders: run folders.
        key: first digits of the evaluation's key, where the folders hold several.

    Raises:
        RunError: a folder has no parts, or the folders hold parts of different evaluations, of a model that answered
            differently, or of shards that were started with different analyses or checks.
    """
    if not folders:
        raise InputError("merge: expected at least one folder, got none; for example `toughen merge shard-*`")
    found: list[VerdictStore] = []
    for folder in folders:
        here = [parts for parts in unfinished(folder) if key is None or parts.spec.key.startswith(key)]
        if not here:
            which = "" if key is None else f" whose key begins with {key}"
            raise RunError(
                f"{folder.path} holds no parts of an evaluation{which}; they are made by `toughen evaluate --shard i/n`"
            )
        found += here
    first = found[0].spec
    for parts in found[1:]:
        if parts.spec.key != first.key:
            raise RunError(
                f"{found[0].path} and {parts.path} belong to different evaluations; they differ in "
                f"{', '.join(parts.spec.differences(first)[:3])}. Choose one by the first digits of its key: "
                f"--key {first.key[:8]} or --key {parts.spec.key[:8]}"
            )
        if changed := what_changed(parts.spec.probe, first.probe):
            raise RunError(
                f"{found[0].path} and {parts.path} are of models with other {changed} on the same images, although "
                "their weights, code and settings look the same; compute the wrong one again"
            )
    _check_plans(found)
    return found


def _check_plans(found: Sequence[VerdictStore]) -> None:
    """Raise where shards were started with different analyses: what one of them leaves to another would be missing."""
    plans = {path: plan for parts in found for path, plan in parts.planned().items()}
    for path, plan in plans.items():
        first, expected = next(iter(plans.items()))
        differing = [name for name in expected | plan if expected.get(name) != plan.get(name)]
        if differing:
            said = "; ".join(f"{name} {_said(expected, name)} and {_said(plan, name)}" for name in differing)
            raise RunError(
                f"the shards of {first} and {path} have different analyses or checks: {said}. Run them again with "
                "the same --analyses and --checks (what is there is not computed twice), or delete the file of a shard "
                "that is not meant"
            )


def _said(plan: Mapping[str, Any], name: str) -> str:
    return json.dumps(plan[name]) if name in plan else "absent"


def merge_parts(found: Sequence[VerdictStore], *, reason: str = "", partial: bool = False) -> Evaluation:
    """The evaluation that the parts amount to, row by row what one process would have given.

    Args:
        found: parts of one evaluation; see `find_parts`.
        partial: take what there is; see `summarise`.
        reason: why something is missing, for the result's warning.

    Raises:
        RunError: batches are missing, and `partial` is not set; the message says which shards.
    """
    spec = found[0].spec
    units: list[BatchResult] = []
    missing: list[int] = []
    for number in range(spec.batches):
        for name in (CLEAN, *spec.attacks):
            unit = next((unit for parts in found if (unit := parts.read(number, name)) is not None), None)
            if unit is not None:
                units.append(unit)
            elif number not in missing:
                missing.append(number)
        units += [unit for parts in found for name in FURTHER if (unit := parts.read(number, name)) is not None]
    units += [unit for parts in found for unit in parts.audited()]
    if missing and not partial:
        raise RunError(_what_is_missing(spec, units, missing))
    return summarise(spec, units, analyses=_analyses(found), reason=reason)


def _analyses(found: Sequence[VerdictStore]) -> dict[str, object]:
    names = {path.stem.removeprefix("analysis-") for parts in found for path in parts.path.glob("analysis-*.json")}
    analyses: dict[str, object] = {}
    for name in sorted(names):
        notes = [(parts.path, note) for parts in found if (note := parts.noted(name)) is not None]
        for path, note in notes[1:]:
            there, first = notes[0]
            differing = [key for key in first | note if first.get(key) != note.get(key)]
            if differing:
                key = differing[0]
                raise RunError(
                    f"{there} and {path} have different results of {name}, in {', '.join(differing)}: {key} is "
                    f"{str(first.get(key))[:80]} and {str(note.get(key))[:80]}; delete analysis-{name}.json in one"
                )
        if notes:
            analyses[name] = notes[0][1]
    return analyses


def _what_is_missing(spec: EvaluationSpec, units: Sequence[BatchResult], missing: Sequence[int]) -> str:
    images = sum(spec.images_in(number) for number in missing)
    count = max((Shard.parse(unit.shard).count for unit in units if unit.shard), default=1)
    what = f"{len(missing)} of {spec.batches} batches ({images:,} of {spec.n:,} images) are missing"
    if count == 1:
        return f"{what}; go on with the same `toughen evaluate` as before"
    shards = [Shard(number, count) for number in range(1, count + 1)]
    lacking = [shard for shard in shards if any(shard.takes(number) for number in missing)]
    begun = {unit.batch for unit in units}
    said = [
        f"{shard} ({'unfinished' if any(shard.takes(number) for number in begun) else 'not begun'})"
        for shard in lacking
    ]
    return (
        f"{what}: shard {', '.join(said)}; compute with the same `toughen evaluate` and "
        f"{', '.join(f'--shard {shard}' for shard in lacking)}, and name all folders"
    )
