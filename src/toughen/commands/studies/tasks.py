"""One task of a study, done; and the commands that do it by hand."""

import shlex
from dataclasses import replace
from typing import Any

from toughen.commands.evaluate import evaluate
from toughen.commands.studies.plan import CHOOSING_SEED
from toughen.commands.studies.state import StudyState, Task
from toughen.commands.sweep import sweep
from toughen.commands.train import DEFAULTS, train
from toughen.errors import RunError
from toughen.evaluation import Evaluation, Progress
from toughen.methods.counting import step_passes
from toughen.methods.method import Method
from toughen.reports.study.record import RowRecord
from toughen.reports.text import percent
from toughen.settings.as_options import as_options
from toughen.settings.description import describe
from toughen.training import Observer


def carry_out_task(state: StudyState, task: Task, observer: Observer | None, progress: Progress | None) -> str:
    """Do a task that this process has claimed, from where a killed worker left it; what came of it, in words.

    Raises:
        ToughenError: what it failed by.
        Interrupted: a signal asked the process to stop.
    """
    if task.kind == "choose":
        return _choose(state, task, observer)
    settings = state.plan.settings(task.data, task.row, task.seed, state.chosen(task.data, task.row))
    folder = state.plan.run(task.data, task.row, task.seed)
    if task.kind == "train":
        trained = train(**settings, out=str(folder.path), resume="auto", observer=observer, progress=progress)
        assert trained.evaluation is not None  # the budget has attacks
        return _in_words(trained.evaluation)
    confirm, kept = state.plan.confirm, ("test_images", "sample", "seed", "device")
    assert confirm is not None  # or there were no such task
    asked = {name: settings[name] for name in kept if settings[name] is not None}
    return _in_words(evaluate(folder.path, budget=confirm.budget, progress=progress, **asked))


def _choose(state: StudyState, task: Task, observer: Observer | None) -> str:
    settings = state.plan.settings(task.data, task.row, CHOOSING_SEED, {})
    found = sweep(
        state.plan.rows[task.row].choose,
        search="grid",
        prune=False,
        out=str(state.chosen_folder(task.data, task.row)),
        observer=observer,
        **{**settings, "seed": CHOOSING_SEED, "budget": "none", "before": "none"},
    ).record
    if found.best is None:
        reasons = dict.fromkeys(each.reason for each in found.trials)
        raise RunError(f"none of its {found.planned} candidates could be trained: {'; '.join(reasons)}")
    return ", ".join(f"{name} {value}" for name, value in found.best.values.items())


def _in_words(found: Evaluation) -> str:
    return f"{percent(found.robust_accuracy)} robust and {percent(found.accuracies['clean'])} clean"


def described_row(state: StudyState, row: RowRecord, study: str) -> RowRecord:
    """The row with its commands and passes: what makes its first run anew by itself, and all of them within the study.

    Args:
        state: of the study.
        row: as `StudyState.row` gives it.
        study: the command line of the study; empty where it was called from Python.
    """
    plan, seed = state.plan, row.runs[0].seed
    shared: dict[str, Any] = {
        name: described
        for name, value in plan.shared.items()
        if (described := describe(value)) != describe(DEFAULTS[name]) and name not in ("method", "data", "seed")
    }
    chosen = state.chosen(row.data, row.name)
    values = plan.values(row.data, row.name, seed, chosen)
    out = f"runs/{plan.folder.name}-{row.data}-{row.name}-seed{seed}"
    commands = {"run": f"toughen train{as_options({**shared, **values, 'seed': seed, 'out': out})}"}
    if study:
        commands["row"] = f"{study} --only {shlex.quote(row.name)}"
    method = plan.settings(row.data, row.name, seed, chosen)["method"]
    return replace(row, commands=commands, passes=_passes(method), defends=bool(method.defends))


def _passes(method: Method) -> tuple[int, int] | None:
    try:
        found = step_passes(method)
    except Exception:  # a method of one's own may want what the small network has not, such as a layer by its name
        return None
    return found.forward, found.backward
