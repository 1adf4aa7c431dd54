"""How far a study is, read from its folder: what was chosen, trained, evaluated, what failed, and what is due next."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from toughen.commands.studies.plan import StudyPlan
from toughen.commands.studies.trial import outcomes
from toughen.evaluation.records.evaluations import Evaluations
from toughen.reading.files import read_json, readable
from toughen.reports.study.figures import evaluations_of, measured, to_confirm
from toughen.reports.study.record import Candidates, RowRecord, RunRecord
from toughen.run import atomic
from toughen.search.records import best_of

Kind = Literal["choose", "train", "confirm"]


@dataclass(frozen=True)
class Task:
    """A piece of a study that one worker does."""

    kind: Kind
    data: str
    row: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Unique in the study."""
        return f"{self.kind}-{self.data}-{self.row}-{self.seed}"

    def __str__(self) -> str:
        words = {"choose": "settings of {0.row} on {0.data}", "train": "{0.row} on {0.data}, seed {0.seed}"}
        return words.get(self.kind, "confirming {0.row} on {0.data}, seed {0.seed}").format(self)


class _Failed(TypedDict):
    reason: str
    traceback: str


class StudyState:
    """What the folder of a study says.

    Args:
        plan: the study's.
        only: rows that this worker works at; none: at all of them.
        seed: the seed whose runs it trains; None: all of them.
    """

    def __init__(self, plan: StudyPlan, only: tuple[str, ...] = (), seed: int | None = None) -> None:
        self.plan = plan
        self.seeds = plan.seeds if seed is None else (seed,)
        self._asked = only or tuple(plan.rows)
        needed = [of for name in only for of in plan.rows[name].needs.values()]
        self.rows = [name for name in plan.rows if not only or name in (*only, *needed)]

    def left(self) -> Iterator[Task]:
        """The tasks that can be done now, in the order in which they are due: seed by seed over all rows."""
        searches = [Task("choose", data, row) for data in self.plan.data for row in self.rows]
        for task in (*searches, *self._trainings()):
            if self.is_left(task) and self._is_ready(task):
                yield task
        for data in self.plan.data if self.plan.confirm is not None else ():
            yield from filter(self.is_left, self._to_confirm(data))

    def any_left(self) -> bool:
        """Whether something is to be done still, by this worker or others, of what this one works at."""
        return any(map(self.is_left, self._trainings())) or next(self.left(), None) is not None

    def _trainings(self) -> list[Task]:
        """The runs that this worker works at, done or not."""
        rows = self.plan.rows
        by_trials = {of for name in self.rows if rows[name].choose for of in rows[name].needs.values()}
        return [
            Task("train", data, row, seed)
            for data in self.plan.data
            for seed in self.plan.seeds
            for row in self.rows
            if seed in self.seeds or (row in by_trials and seed == self.plan.seeds[0])
        ]

    def is_left(self, task: Task) -> bool:
        """Whether a task is neither done nor has failed."""
        if self.failure(task):
            return False
        if task.kind == "choose":
            return bool(self.plan.rows[task.row].choose) and not self.candidates(task.data, task.row).done
        confirm = self.plan.confirm
        budget = confirm.budget if task.kind == "confirm" and confirm is not None else self.plan.shared["budget"]
        return not evaluations_of(self.plan.run(task.data, task.row, task.seed), budget)

    def _is_ready(self, task: Task) -> bool:
        """Whether what a task waits for has ended."""
        return not any(map(self.is_left, self._before(task)))

    def _before(self, task: Task) -> dict[Task, str]:
        """What is to be done before a task, and why this one fails where that has failed."""
        row, seed = self.plan.rows[task.row], self.plan.seeds[0] if task.kind == "choose" else task.seed
        found = {Task("train", task.data, of, seed): f"it needs {of}, which failed" for of in row.needs.values()}
        if task.kind == "train" and row.choose:
            found[Task("choose", task.data, task.row)] = "its settings could not be chosen"
        return {} if task.kind == "confirm" else found

    def _to_confirm(self, data: str) -> list[Task]:
        """The second evaluations that this worker works at, once all rows have ended."""
        confirm = self.plan.confirm
        everything = [Task("train", data, row, seed) for row in self.plan.rows for seed in self.plan.seeds]
        if confirm is None or any(map(self.is_left, everything)):
            return []
        rows = [self.row(data, name) for name in self.plan.rows]
        best = to_confirm(measured(rows, self.plan.shared["budget"]), confirm.best)
        there = [Task("confirm", data, name, seed) for name in best if name in self._asked for seed in self.seeds]
        return [each for each in there if self.plan.run(data, each.row, each.seed).model.exists()]

    def candidates(self, data: str, row: str) -> Candidates:
        """What was tried for a row on held-out images."""
        folder = self.chosen_folder(data, row)
        return Candidates(folder, self.plan.rows[row].candidates, tuple(outcomes(folder)))

    def chosen(self, data: str, row: str) -> dict[str, Any]:
        """The values that a row was given by its search; none where it has none."""
        best = best_of(self.candidates(data, row).trials) if self.plan.rows[row].choose else None
        return {} if best is None else dict(best.values)

    def chosen_folder(self, data: str, row: str) -> Path:
        """Where a row's search lies."""
        return self.plan.folder / "chosen" / data / row

    def failure_file(self, task: Task) -> Path:
        """The file that says why a task failed; not there where it did not."""
        return self.plan.folder / "failed" / f"{task.name}.json"

    def failure(self, task: Task) -> str:
        """Why a task failed, in a sentence; empty where it did not.

        One that needs what has failed has no file of its own, so that to delete that one's is to try both again.
        """
        file = self.failure_file(task)
        if file.exists():
            with readable(file, "delete it, and the study tries that again"):
                return str(read_json(file, _Failed)["reason"])
        return next((f"{said}: {why}" for each, said in self._before(task).items() if (why := self.failure(each))), "")

    def write_failure(self, task: Task, reason: str, traceback: str) -> None:
        """Say that a task failed, so that nobody tries it again."""
        with atomic(self.failure_file(task)) as path:
            path.write_text(json.dumps({"reason": reason, "traceback": traceback}, indent=2))

    def row(self, data: str, name: str) -> RowRecord:
        """What there is of a row on one data set."""
        row, runs = self.plan.rows[name], []
        failed = self.failure(Task("choose", data, name)) if row.choose else ""
        for seed in self.plan.seeds:
            task = Task("train", data, name, seed)
            folder = self.plan.run(data, name, seed)
            reason = self.failure(task) or self.failure(Task("confirm", data, name, seed))
            runs.append(RunRecord(seed, folder, reason, Evaluations(folder).path.is_dir()))
        chosen = self.candidates(data, name) if row.choose else None
        return RowRecord(name, data, tuple(runs), chosen, failed, needs=tuple(row.needs.values()))
