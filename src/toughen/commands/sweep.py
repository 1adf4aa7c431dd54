"""Search settings of a training by grid, at random or by what earlier trials showed, shared by several workers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, TypedDict

from toughen.commands.studies.trial import run_trial, with_values
from toughen.commands.train import DEFAULTS, train
from toughen.commands.trainings.begun import MAY_CHANGE, changes_in
from toughen.commands.trainings.settings import check_settings
from toughen.contracts import check_choice
from toughen.errors import InputError, RunError, did_you_mean
from toughen.evaluation import Evaluation, Progress
from toughen.hardware.processes import Processes
from toughen.numbers import check_number
from toughen.reading.files import read_json, readable
from toughen.reports.sweep_page import write_sweep
from toughen.reports.text import percent
from toughen.run import RunFolder, atomic
from toughen.run.lock import InUse, Lock
from toughen.search.records import SweepRecord, TrialRecord, best_of, front_of
from toughen.search.space import Axis, combinations, grid_of, read_space
from toughen.search.trials import Algorithm, Search, SearchPlan
from toughen.settings.description import default_name, describe
from toughen.settings.trust import obeying_trust, trust_option
from toughen.training import Interrupted, Observer

TRIALS = 20
"""How many, where a search has no other number."""
_TRIED = 64
"""Combinations of ends and choices that are looked at before the first trial."""
_HELD_OUT = "trials would be judged by other held-out images"
_FIXED = {
    "data": _HELD_OUT,
    "val_images": _HELD_OUT,
    "threat": "trials would be judged by other attacks",
    "seed": "the luckiest seed would win: `toughen train --seeds 0,1,2` trains several seeds of one configuration",
    **dict.fromkeys(MAY_CHANGE, "it decides nothing of the weights"),
}
"""Settings that cannot vary, with the reason."""


class _Begun(TypedDict):
    """What study.json says: the name of Optuna's study in its database, and what the sweep was begun with."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What `sweep` gives back.

    Attributes:
        record: trials, the best of them, importance of the settings, and the command that trains the best anew.
        page: the report of the sweep.
        evaluations: of the chosen trials on test images, by number; empty where trials are left, others evaluate
            them, or the budget is "none".
    """

    record: SweepRecord
    page: Path
    evaluations: dict[int, Evaluation]

    def __repr__(self) -> str:
        best = self.record.best
        said = "" if best is None else f", best: trial {best.number}, {percent(best.robust or 0)} robust on held-out"
        return f"Sweep({self.record.counts()}{said}, page: {self.page})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        rows = "".join(
            f"<tr><td>{each.number}</td><td>{percent(each.robust or 0)}</td><td>{percent(each.clean or 0)}</td>"
            f"<td>{escape(_in_words(each.values))}</td><td>{each.state}</td></tr>"
            for each in self.record.ranked
        )
        heads = "".join(f"<th>{head}</th>" for head in ("trial", "robust", "clean", "settings", "state"))
        return f"<table><tr>{heads}</tr>{rows}</table><p><code>{escape(self.record.command)}</code></p>"


@obeying_trust
def sweep(
    vary: dict[str, Any],
    *,
    search: Algorithm = "tpe",
    trials: int | None = None,
    prune: bool | None = None,
    storage: str | None = None,
    out: str | None = None,
    trust: Sequence[str] = (),
    observer: Observer | None = None,
    progress: Progress | None = None,
    said: Callable[[str], None] | None = None,
    **settings: Any,
) -> Sweep:
    """Search settings of a training: each trial is a run, and held-out images say which is best.

    The same call, made several times, on one machine or on many that share the folder, shares the trials out: each is
    one worker's. It goes on where a worker was stopped or killed, from the checkpoint of the trial that it was at. The
    test set is touched once all trials have ended, by the best one alone (nsga2: by those that no other beats in clean
    and robust accuracy).

    Args:
        vary: settings by dotted name, each with a list of values or a range, such as
            {method.beta: [1, 3, 6], optimizer.lr: {low: 0.01, high: 0.3, log: true}}; ranges may have a step.
        search: tpe (what earlier trials showed), random, grid (every combination), or nsga2 (clean and robust accuracy
            at once; the others go by robust accuracy).
        trials: how many; default all of a grid, else 20. More of them later go on with the sweep.
        prune: end trials whose robust accuracy on held-out images falls behind the others'; default in tpe and random.
        storage: address of a database for its trials, such as postgresql://user@host/name; default a journal in the
            folder.
        out: the sweep's folder, which all workers see; default runs/sweep-<data>-<model>-<method>.
        trust: what files, and names in vary, may name beside this package's classes and its libraries' networks; their
            code is run.
        observer: somebody who watches the training of each trial.
        progress: called as an attack of the final evaluation starts on a batch.
        said: called with a sentence for each trial that begins and ends.
        **settings: those of `train`, which all trials share; budget, test_images and sample are of the evaluation of
            the best.

    Returns:
        Sweep: trials, the best of them, and the report.

    Raises:
        ToughenError: a setting, the data or the folder is not usable; three trials and no other one failed.
        Interrupted: a signal asked the process to stop; the same call goes on.
    """
    if Processes.from_environment().size > 1:
        raise InputError("a worker of a sweep is one process; start several workers with the same command, each alone")
    for name in settings:
        if name not in DEFAULTS:
            raise InputError(f"sweep: unknown setting {name!r}; {did_you_mean(name, DEFAULTS)}")
    shared = {**DEFAULTS, **settings}
    plan = _plan(read_space(vary), search, trials, prune, shared)
    folder = Path(out or f"runs/sweep-{default_name(shared['data'], shared['model'], shared['method'])}")
    described = {name: describe(value) for name, value in {**shared, "vary": vary, "search": search}.items()}
    searching = Search(folder, _begin(folder, described), plan, storage)
    work = _Worker(folder, searching, shared, said or (lambda sentence: None), observer)
    while work.trial():
        pass
    return work.finish(progress)


def _plan(
    axes: tuple[Axis, ...], search: Algorithm, trials: int | None, prune: bool | None, shared: Mapping[str, Any]
) -> SearchPlan:
    """What is looked for, every setting checked with the values that it may take.

    Raises:
        InputError: naming the setting.
    """
    check_choice("search", search, Algorithm)
    if trials is not None:
        check_number("trials", trials, least=1, whole=True)
    for axis in axes:
        name = axis.name.partition(".")[0]
        if name not in DEFAULTS:
            raise InputError(f"vary: unknown setting {axis.name!r}; {did_you_mean(name, DEFAULTS)}")
        if name in _FIXED:
            raise InputError(f"vary: {axis.name} cannot vary, as {_FIXED[name]}")
    if prune and search == "nsga2":
        raise InputError("prune: nsga2 has two objectives, by which no trial falls behind; leave one of the two out")
    for values in combinations(axes, _TRIED):
        check_settings(with_values(shared, values, "vary"))
    points = len(grid_of(axes)) if search == "grid" else None
    count = min(trials or points or TRIALS, points or trials or TRIALS)
    prunes = search in ("tpe", "random") if prune is None else prune
    return SearchPlan(axes, search, count, prunes, shared["seed"], shared["epochs"])


def _begin(folder: Path, described: Mapping[str, Any]) -> str:
    """The name of a folder's study in Optuna, which the first worker gives it.

    Raises:
        RunError: the folder holds something else.
        InputError: its sweep was begun with other settings.
    """
    file = folder / "study.json"
    with Lock(folder, wait=True):
        if file.exists():
            with readable(file, "restore it, or give another --out"):
                begun = read_json(file, _Begun)
            changed = changes_in(begun["settings"], described, MAY_CHANGE)
            if changed:
                lines = "\n".join(f"  {name}: {before}, now {after}" for name, before, after in changed)
                raise InputError(
                    f"the sweep in {folder} was begun with other settings:\n{lines}\nGive those, or another --out"
                )
            return str(begun["name"])
        if any(not each.name.startswith(".") for each in folder.iterdir()):
            raise RunError(f"{folder} exists and holds no sweep; give another --out")
        name = f"{folder.resolve().name}-{token_hex(4)}"
        with atomic(file) as path:
            path.write_text(json.dumps({"name": name, "settings": described}, indent=2))
        return name


class _Worker:
    """One process that works at a sweep."""

    def __init__(
        self,
        folder: Path,
        search: Search,
        shared: Mapping[str, Any],
        said: Callable[[str], None],
        observer: Observer | None,
    ) -> None:
        self.folder, self.search, self.shared = folder, search, shared
        self.said, self.observer = said, observer

    def trial(self) -> bool:
        """Claim a trial and run it; whether there was one.

        Raises:
            ToughenError: as for `run_trial`; three trials and no other one failed.
            Interrupted: a signal asked the process to stop.
        """
        with self.search.claim() as own:
            if own is None:
                return False
            run, planned = RunFolder(self.folder / "trials" / f"{own.number:03}"), self.search.plan.trials
            self.said(f"trial {own.number} of {planned}: {_in_words(own.values)}")
            try:
                record = run_trial(own, run, with_values(self.shared, own.values, "vary"), self.observer)
            except Interrupted as stopped:
                raise Interrupted(
                    f"stopped in trial {own.number}, whose run is saved; the same command goes on with it"
                ) from stopped
            own.end(record)
        self.said(_ended(record))
        ended = [each for each in self.search.records() if each.state != "begun"]
        if len(ended) >= 3 and all(each.state == "failed" for each in ended):
            raise RunError(f"all {len(ended)} trials failed, the last one so: {record.reason or ended[-1].reason}")
        return True

    def finish(self, progress: Progress | None) -> Sweep:
        """Evaluate the chosen trials, where all have ended and nobody else is at it, and write the report."""
        record, evaluations = self.record(), {}
        if record.done and self.shared["budget"] != "none":
            try:
                with Lock(self.folder, ".evaluation.lock"):
                    evaluations = {each.number: self._evaluate(each, progress) for each in record.chosen}
            except InUse:
                self.said("another worker evaluates the best on test images and writes the report")
        with Lock(self.folder, ".report.lock", wait=True):  # so that no older one comes last
            record = self.record()
            return Sweep(record, write_sweep(record), evaluations)

    def record(self) -> SweepRecord:
        """What is known now."""
        trials, plan = tuple(self.search.records()), self.search.plan
        best = best_of(trials)
        chosen = front_of(trials) if len(plan.objectives) > 1 else [best] if best else []
        command = "" if best is None else _command(self.folder, best, self.shared)
        importance = self.search.importance()
        return SweepRecord(self.folder, plan.search, plan.trials, trials, tuple(chosen), importance, command)

    def _evaluate(self, trial: TrialRecord, progress: Progress | None) -> Evaluation:
        self.said(f"evaluating trial {trial.number} on test images")
        settings, out = with_values(self.shared, trial.values, "vary"), self.folder / "trials" / trial.name
        trained = train(**settings, out=str(out), resume="auto", progress=progress)
        assert trained.evaluation is not None  # the budget has attacks
        return trained.evaluation


def _command(folder: Path, best: TrialRecord, shared: Mapping[str, Any]) -> str:
    """What trains the best trial anew, as a run of its own."""
    config = folder / "trials" / best.name / "config.yaml"
    trusted = trust_option(RunFolder(config.parent).read_config()) if config.exists() else ""
    out = folder.parent / f"{folder.name}-best"
    return f"toughen train --config {config} --budget {shared['budget']} --out {out}{trusted}"


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _ended(record: TrialRecord) -> str:
    if record.robust is None or record.clean is None:
        return f"trial {record.number} {record.state}: {record.reason}"
    state = f"pruned after epoch {record.epoch}" if record.state == "pruned" else record.state
    figures = f"{percent(record.robust)} robust and {percent(record.clean)} clean on held-out images"
    return f"trial {record.number} {state}: {figures}"
