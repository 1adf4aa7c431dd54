"""A study's results as one JSON file."""

import json
import math
from pathlib import Path
from typing import Any

from toughen._version import __version__
from toughen.reports.study.against import Against, Tested
from toughen.reports.study.answers import answers
from toughen.reports.study.claims import Answered
from toughen.reports.study.figures import Measured, OverRuns, trained_seconds
from toughen.reports.study.record import Candidates, RowRecord, StudyRecord
from toughen.reports.study.results import DataResult, Level
from toughen.run import RunFolder, atomic


def write_json(study: StudyRecord, results: list[DataResult], claims: dict[str, list[Answered]], path: Path) -> Path:
    """Write all that the page shows, and each run's own figures.

    Returns:
        Path: where it lies.

    Raises:
        RunError: the disk cannot be written.
    """
    content = {
        "schema": 1,
        "study": study.name,
        "toughen": __version__,
        **study.about,
        "budget": study.budget,
        "confirm": None if study.confirm is None else study.confirm.budget,
        "unequal": study.unequal,
        "data": {result.name: _data(study, result, claims[result.name]) for result in results},
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _data(study: StudyRecord, result: DataResult, claims: list[Answered]) -> dict[str, Any]:
    return {
        "answers": dict(answers(result)),
        "claims": [_claim(each) for each in claims],
        "rows": {row.name: _row(study, result, row) for row in result.records},
        "levels": [_level(study, level) for level in result.levels],
    }


def _row(study: StudyRecord, result: DataResult, row: RowRecord) -> dict[str, Any]:
    return {
        "commands": row.commands,
        "state": result.state(row) or "complete",
        "failed": {str(run.seed): run.failed for run in row.runs if run.failed},
        "chosen": None if row.chosen is None else _chosen(study, row.chosen),
    }


def _claim(answered: Answered) -> dict[str, Any]:
    return {
        **{name: getattr(answered.claim, name) for name in ("text", "source", "row", "over", "measure")},
        "budget": answered.budget,
        "under": list(answered.under),
        "test": None if answered.test is None else _against(answered.test),
        "over_seeds": answered.over_seeds,
        "over_images": answered.over_images,
        "doubted": list(answered.doubted),
        "answer": answered.answer,
    }


def _chosen(study: StudyRecord, chosen: Candidates) -> dict[str, Any]:
    best = chosen.best
    return {
        "folder": chosen.folder.relative_to(study.folder).as_posix(),
        "values": None if best is None else best.values,
        "seconds": math.fsum(
            trained_seconds(RunFolder(chosen.folder / "trials" / each.name)) for each in chosen.trials
        ),
        "candidates": [
            {"values": each.values, "state": each.state, "robust": each.robust, "clean": each.clean}
            for each in chosen.trials
        ],
    }


def _level(study: StudyRecord, level: Level) -> dict[str, Any]:
    return {
        "budget": level.budget,
        "protocol": level.rows[0].runs[0][1].protocol,
        "best": level.best.name,
        "front_of_cost": list(level.robust_front),
        "front_of_clean": list(level.clean_front),
        "rows": {row.name: _measured(study, row) for row in level.rows},
        "tests": _tests(level.tested),
    }


def _measured(study: StudyRecord, row: Measured) -> dict[str, Any]:
    return {
        "robust": _average(row.robust),
        "clean": _average(row.clean),
        "estimated": row.estimated,
        "doubts": row.masked,
        "cost": vars(row.cost),
        "runs": [
            {
                "seed": seed,
                "folder": run.folder.path.relative_to(study.folder).as_posix(),
                "robust": run.robust,
                "clean": run.clean,
            }
            for seed, run in row.runs
        ],
    }


def _average(share: OverRuns) -> dict[str, Any]:
    seeds = None if share.seeds is None else vars(share.seeds)
    return {"mean": share.accuracy, "values": list(share.values), "images": list(share.images), "seeds": seeds}


def _tests(tested: Tested) -> dict[str, Any]:
    return {
        "over_seeds": "Welch's t-test",
        "over_images": "exact sign-flip test of the mean over the seeds",
        "corrected": "pairs by Holm's method; to_best times the number of rows beside the best one",
        "under": list(tested.under),
        "detectable": tested.detectable,
        "to_best": [_against(each) for each in tested.to_best.values()],
        "pairs": [_against(each) for each in tested.pairs],
    }


def _against(test: Against) -> dict[str, Any]:
    images = None if test.images is None else {"difference": test.images.difference, "interval": test.images.interval}
    return {
        "first": test.first,
        "second": test.second,
        "difference": test.difference,
        "seeds": test.seeds,
        "p_seeds": test.p_seeds,
        "images": images,
        "p_images": test.p_images,
    }
