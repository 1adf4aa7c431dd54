"""Methods on several data sets with several seeds: one resumable study, shared by workers, with one page."""

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from toughen.commands.studies.claims import claims_of
from toughen.commands.studies.plan import StudyPlan, plan_of
from toughen.commands.studies.state import StudyState
from toughen.commands.studies.tasks import carry_out_task, described_row
from toughen.commands.train import DEFAULTS
from toughen.commands.trainings.begun import changes_in
from toughen.errors import InputError, RunError, did_you_mean
from toughen.evaluation import Budget, Progress
from toughen.hardware.processes import Processes
from toughen.numbers import check_seed
from toughen.reading.files import read_json, readable
from toughen.reports.study.page import write_study
from toughen.reports.study.record import Claim, StudyRecord
from toughen.run import atomic
from toughen.run.lock import InUse, Lock
from toughen.run.queue import claimed
from toughen.settings.trust import obeying_trust
from toughen.training import Interrupted, Observer

BEGUN = "begun.json"
"""What a study was begun with."""
_PATIENCE = 2.0
"""Seconds between two looks whether another worker has ended what this one waits for."""
_BETWEEN_PAGES = 60.0
"""Seconds at least between two pages that a worker writes on its way; it takes some tenths of a second."""


@dataclass(frozen=True)
class Study:
    """What `study` gives back.

    Attributes:
        record: the rows, and where their runs lie.
        page: the report.
        results: the JSON with all figures.
    """

    record: StudyRecord
    page: Path
    results: Path

    def __repr__(self) -> str:
        counts = {name: len(rows) for name, rows in self.record.rows.items()}
        return f"Study({self.record.name}: {counts} rows, page: {self.page})"


@obeying_trust
def study(
    rows: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    seeds: list[int] = [0, 1, 2],  # noqa: B006 - never changed
    budget: Budget = "fast",
    confirm: Mapping[str, Any] | None = None,
    unequal: bool = False,
    claims: Sequence[Mapping[str, Any]] = (),
    only: list[str] = [],  # noqa: B006 - never changed
    seed: int | None = None,
    out: str | None = None,
    trust: Sequence[str] = (),
    command: str = "",
    observer: Observer | None = None,
    progress: Progress | None = None,
    said: Callable[[str], None] | None = None,
    **settings: Any,
) -> Study:
    """Train and evaluate methods on several data sets with several seeds, and say which is better, at which cost.

    Each row on each data set with each seed is a run in <out>/runs/<data>/<row>/seed0. The same call, made several
    times, shares the runs out among its workers, goes on where one was stopped or killed, and makes the page anew from
    what is there. A run that fails is recorded with its reason and stops no other one. Rows, data and seeds can be
    added later.

    Args:
        rows: methods by the name of their row: settings of `train`, such as {TRADES: {method: TRADES}}. A row may have
            choose, settings with the values that are tried on held-out images, with another seed, before one is taken
            for all seeds ({method.beta: [1, 3, 6]}), and needs, settings that take the folder of another row's run of
            the same data and seed ({method.standard: Standard}).
        data: data sets by name: settings of `train` that all runs on it share, the source among them, such as
            {digits: {data: digits, epochs: 10}}.
        seeds: one run each.
        budget: attacks of the evaluation of every run, on test images: quick, fast (estimates AutoAttack) or standard.
        confirm: a second evaluation by a larger budget, of the rows that are best by the first one, such as
            {budget: standard, best: 3}.
        unequal: let rows choose from different numbers of candidates; the page says so.
        claims: what papers say, answered beside the figures: rows that are said to be better than others, such as
            [{claim: more robust, source: Yang 2023, row: ARoW, over: TRADES}], and measure, robust or clean, and data,
            one of the data sets. They can be added at any time.
        only: rows to work at now, with those that they need; default all. The page shows all of them.
        seed: the seed whose runs are trained now; default all seeds.
        out: the study's folder, which all workers see; default runs/study.
        trust: what files, and names in rows and data, may name beside this package's classes and its libraries'
            networks; their code is run.
        command: what the command line was, for the commands on the page.
        observer: somebody who watches the trainings.
        progress: called as an attack starts on a batch.
        said: called with a sentence for each run that begins and ends.
        **settings: those of `train` that all runs share.

    Returns:
        Study: where the page and the JSON of all figures lie.

    Raises:
        ToughenError: a setting or the folder is not usable; the first three runs that ended all failed.
        Interrupted: a signal asked the process to stop; the same call goes on.
    """
    if Processes.from_environment().size > 1:
        raise InputError("a worker of a study is one process; start several workers with the same command, each alone")
    for name in settings:
        if name not in DEFAULTS or name in ("method", "seed"):
            raise InputError(f"study: unknown setting {name!r}; {did_you_mean(name, DEFAULTS.keys() - {'method'})}")
    if budget not in ("quick", "fast", "standard", "thorough"):
        raise InputError(f"budget: expected quick, fast, standard or thorough, got {budget!r}")
    folder = Path(out or "runs/study")
    plan = plan_of(folder, rows, data, seeds, {**DEFAULTS, **settings, "budget": budget}, confirm, unequal)
    for name in only:
        if name not in plan.rows:
            raise InputError(f"only: unknown row {name!r}; {did_you_mean(name, plan.rows)}")
    if seed is not None:
        check_seed("seed", seed)
        if seed not in plan.seeds:
            raise InputError(f"seed: expected one of the study's, {', '.join(map(str, plan.seeds))}, got {seed}")
    stated = claims_of(claims, plan)
    say = said or (lambda sentence: None)
    _begin(plan)
    if aside := _aside(plan):
        say(f"page and results leave out what is here of {', '.join(aside)}; name it as before, and they have it again")
    work = _Worker(plan, StudyState(plan, tuple(only), seed), say, observer, progress)
    report = partial(_report, plan, stated, unequal, command)
    work.go_on(report)
    return report()


def _begin(plan: StudyPlan) -> None:
    """Say what a study is begun with, or raise where what is there was begun with something else.

    Raises:
        RunError: the folder holds something else.
        InputError: rows, data or shared settings differ from those of before; there may be more of them.
    """
    file, now = plan.folder / BEGUN, plan.described()
    with Lock(plan.folder, wait=True):
        if file.exists():
            with readable(file, "restore it, or give another --out"):
                begun = read_json(file, dict[str, dict[str, Any]])
            same = {part: {n: of[n] for n in of if n in now.get(part, {})} for part, of in begun.items()}
            kept = {part: {n: now[part][n] for n in of} for part, of in same.items()}
            changed = changes_in(same, kept)
            if changed:
                lines = "\n".join(f"  {name}: {before}, now {after}" for name, before, after in changed)
                raise InputError(
                    f"the study in {plan.folder} was begun with other settings:\n{lines}\nGive those, call what is new "
                    "by another name, or give another --out"
                )
            now = {part: {**begun.get(part, {}), **now[part]} for part in now}
        elif any(not each.name.startswith(".") for each in plan.folder.iterdir()):
            raise RunError(f"{plan.folder} exists and holds no study; give another --out")
        with atomic(file) as path:
            path.write_text(json.dumps(now, indent=2))


def _aside(plan: StudyPlan) -> list[str]:
    """Data sets, rows and seeds that have runs in the folder and are not of the plan."""
    found: dict[str, None] = {}
    for run in sorted((plan.folder / "runs").glob("*/*/seed*")):
        data, row, seed = run.parts[-3:]
        if data not in plan.data:
            found[data] = None
        elif row not in plan.rows:
            found[row] = None
        elif seed not in {f"seed{seed}" for seed in plan.seeds}:
            found[f"seed {seed.removeprefix('seed')}"] = None
    return list(found)


def _report(plan: StudyPlan, claims: tuple[Claim, ...], unequal: bool, command: str) -> Study:
    """What is there now, with page and JSON of it."""
    state = StudyState(plan)
    with Lock(plan.folder, ".report.lock", wait=True):  # so that no older one comes last
        rows = {
            data: tuple(described_row(state, state.row(data, row), command) for row in plan.rows) for data in plan.data
        }
        about = {"seeds": list(plan.seeds)}
        name = plan.folder.name or "study"
        record = StudyRecord(name, plan.folder, rows, plan.shared["budget"], plan.confirm, unequal, about, claims)
        return Study(record, *write_study(record))


class _Worker:
    """One process that works at a study."""

    def __init__(
        self,
        plan: StudyPlan,
        state: StudyState,
        said: Callable[[str], None],
        observer: Observer | None,
        progress: Progress | None,
    ) -> None:
        self.plan, self.state, self.said = plan, state, said
        self.observer, self.progress = observer, progress
        self._outcomes: list[str] = []

    def go_on(self, report: Callable[[], object]) -> None:
        """Do what is left, or wait while others do, until nothing is; `report` is called now and then, after a task.

        Raises:
            RunError: the first three tasks of this worker all failed.
            Interrupted: a signal asked the process to stop.
        """
        waits, reported = False, time.monotonic()
        while True:
            if self._task():
                waits = False
                if time.monotonic() - reported > _BETWEEN_PAGES:
                    report()
                    reported = time.monotonic()
            elif not self.state.any_left():
                return
            else:
                if not waits:
                    self.said("waiting for what other workers are at")
                waits = True
                time.sleep(_PATIENCE)

    def _task(self) -> bool:
        """Claim a task and do it; whether there was one."""
        name, is_left = (lambda task: task.name), self.state.is_left
        with claimed(self.plan.folder, self.state.left, name, is_left) as task:
            if task is None:
                return False
            self.said(str(task))
            try:
                outcome = carry_out_task(self.state, task, self.observer, self.progress)
            except Interrupted as stopped:
                raise Interrupted(f"stopped in {task}, which is saved; the same command goes on with it") from stopped
            except InUse:
                raise
            except Exception as error:  # whatever a row's own code raises: others are not to wait for it
                reason = f"{error}" if str(error) else type(error).__name__
                self.state.write_failure(task, reason, traceback.format_exc())
                self.said(f"{task} failed: {reason}")
                self._outcomes.append(reason)
            else:
                self.said(f"{task}: {outcome}")
                self._outcomes.append("")
        if len(self._outcomes) == 3 and all(self._outcomes):
            raise RunError(
                f"the first three tasks failed, the last one so: {self._outcomes[-1]}; delete "
                f"{self.plan.folder / 'failed'} when that is mended, and the same command tries them again"
            )
        return True
