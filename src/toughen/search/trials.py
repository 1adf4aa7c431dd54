"""The trials of a sweep, by Optuna: which values come next, what came of each, shared by several workers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from toughen.errors import InputError
from toughen.extras import library
from toughen.run.lock import Lock
from toughen.run.queue import claimed
from toughen.search.records import State, TrialRecord
from toughen.search.space import Axis, Values, grid_of

Algorithm = Literal["tpe", "random", "grid", "nsga2"]
"""How the next values are chosen."""
_JOURNAL = "journal.log"


@dataclass(frozen=True)
class SearchPlan:
    """What a sweep looks for.

    Attributes:
        axes: the settings that vary.
        search: how values are chosen.
        trials: how many there are to be.
        prune: whether trials that fall behind end early.
        seed: of the choice of values.
        epochs: of a trial, by which it is told when pruning may begin.
    """

    axes: tuple[Axis, ...]
    search: Algorithm
    trials: int
    prune: bool
    seed: int
    epochs: int

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is maximised on held-out images."""
        return ("robust", "clean") if self.search == "nsga2" else ("robust",)


class OwnTrial:
    """A trial that this process has claimed.

    Args:
        trial: Optuna's.
        plan: the sweep's.

    Attributes:
        number: from 0.
        values: what it gives to the settings that vary: the same for whoever goes on with it.
    """

    def __init__(self, trial: Any, plan: SearchPlan) -> None:
        self._trial, self._plan = trial, plan
        self.number: int = trial.number
        self.values: Values = {axis.name: axis.suggest(trial) for axis in plan.axes}
        self._reported = set(trial.study.get_trials(deepcopy=False)[self.number].intermediate_values)

    def report(self, epoch: int, robust: float) -> None:
        """Tell the others of the robust accuracy on held-out images after an epoch; once, also of a resumed run."""
        if self._plan.prune and epoch - 1 not in self._reported:
            self._trial.report(robust, epoch - 1)  # Optuna counts from 0
            self._reported.add(epoch - 1)

    @property
    def falls_behind(self) -> bool:
        """Whether it is to end early, by what was reported so far."""
        return self._plan.prune and bool(self._reported) and bool(self._trial.should_prune())

    def end(self, record: TrialRecord) -> None:
        """Tell the others how it ended."""
        for name in ("clean", "robust", "epoch", "reason"):
            self._trial.set_user_attr(name, getattr(record, name))
        states = library("optuna.trial", "sweep").TrialState
        if record.state == "complete":
            self._trial.study.tell(self._trial, [getattr(record, name) for name in self._plan.objectives])
        else:
            state = states.PRUNED if record.state == "pruned" else states.FAIL
            self._trial.study.tell(self._trial, state=state)


class Search:
    """The trials of a sweep. All that is asked of Optuna is asked here.

    Args:
        folder: where the workers' locks lie and, without a database, Optuna's journal.
        name: of Optuna's study in its database.
        plan: what it looks for.
        storage: address of a database such as sqlite:///file or postgresql://user@host/name; None for the journal.

    Raises:
        InputError: there is no such database.
        ToughenError: Optuna is not installed.
    """

    def __init__(self, folder: Path, name: str, plan: SearchPlan, storage: str | None = None) -> None:
        self.folder, self.plan = folder, plan
        self._grid = grid_of(plan.axes) if plan.search == "grid" else []
        with _quiet():
            self._study = library("optuna", "sweep").create_study(
                study_name=name,
                storage=_database(storage) if storage else _journal(folder),
                directions=["maximize"] * len(plan.objectives),
                pruner=_pruner(plan),
                load_if_exists=True,
            )

    @contextmanager
    def claim(self) -> Iterator[OwnTrial | None]:
        """A trial of this process's own while the block runs: one that a killed worker left, else a new one.

        Yields:
            None where all are done, or others are at work on those that are not.
        """
        name = "trial-{.number:03}".format
        with claimed(self.folder, self._left, name, self._is_running) as trial, _quiet():
            yield None if trial is None else OwnTrial(trial, self.plan)

    def _left(self) -> Iterator[Any]:
        trial = library("optuna.trial", "sweep")
        known = self._study.get_trials(deepcopy=False)
        with _quiet():
            self._study.sampler = _sampler(self.plan, len(known))
            for each in known:
                if each.state == trial.TrialState.RUNNING:
                    yield trial.Trial(self._study, each._trial_id)
            waiting = [each for each in known if each.state == trial.TrialState.WAITING]
            if len(known) - len(waiting) < self.plan.trials:
                if self._grid and not waiting:
                    self._study.enqueue_trial(self._grid[len(known)])
                yield self._study.ask()

    def _is_running(self, trial: Any) -> bool:
        return self._study.get_trials(deepcopy=False)[trial.number].state.name == "RUNNING"

    def records(self) -> list[TrialRecord]:
        """What is known of each trial that was begun."""
        found = [each for each in self._study.get_trials(deepcopy=False) if each.state.name != "WAITING"]
        return [_record(each, self.plan) for each in found]

    def importance(self) -> dict[str, float]:
        """Each setting's share of the variance of the robust accuracy (fANOVA), the largest first.

        Empty where fewer than four trials are complete, or all came out alike. Their sum is 1.
        """
        complete = [each for each in self.records() if each.state == "complete"]
        if len(complete) < 4 or len({each.robust for each in complete}) < 2:
            return {}
        module = library("optuna.importance", "sweep")
        evaluator = module.FanovaImportanceEvaluator(seed=0)
        with _quiet():
            found = module.get_param_importances(
                self._study, evaluator=evaluator, target=lambda trial: trial.user_attrs["robust"]
            )
        return {name: float(share) for name, share in found.items()}


def _record(trial: Any, plan: SearchPlan) -> TrialRecord:
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    known = {name: trial.user_attrs.get(name) for name in ("clean", "robust", "epoch")}
    values = {axis.name: axis.given(trial.params[axis.name]) for axis in plan.axes if axis.name in trial.params}
    reason = trial.user_attrs.get("reason", "")
    return TrialRecord(trial.number, states.get(trial.state.name, "begun"), values, **known, reason=reason)


def _sampler(plan: SearchPlan, number: int) -> Any:
    """Chooses a trial's values: seeded anew for each, so that one worker's sweep is the same when it goes on."""
    samplers, seed = library("optuna.samplers", "sweep"), plan.seed * 100_003 + number
    if plan.search == "tpe":
        # A third at random, ten at most; trials that others are at work on count as bad ones, so that they differ.
        startup = min(10, max(3, plan.trials // 3))
        return samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=seed)
    if plan.search == "nsga2":
        return samplers.NSGAIISampler(population_size=min(50, max(4, plan.trials // 4)), seed=seed)
    return samplers.RandomSampler(seed=seed)


def _pruner(plan: SearchPlan) -> Any:
    """Ends a trial whose best epoch so far is below the median of the others', not in the first third of its epochs."""
    pruners = library("optuna.pruners", "sweep")
    if not plan.prune:
        return pruners.NopPruner()
    return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=-(-plan.epochs // 3))


class _JournalLock:
    """Optuna's lock of a journal, by ours: the system takes it from a killed process at once."""

    def __init__(self, folder: Path) -> None:
        self._lock = Lock(folder, ".journal.lock", wait=True)

    def acquire(self) -> bool:
        self._lock.__enter__()
        return True

    def release(self) -> None:
        self._lock.__exit__()


def _journal(folder: Path) -> Any:
    file = library("optuna.storages.journal", "sweep").JournalFileBackend(str(folder / _JOURNAL), _JournalLock(folder))
    return library("optuna.storages", "sweep").JournalStorage(file)


def _database(address: str) -> Any:
    storages = library("optuna.storages", "sweep")
    try:
        return storages.RDBStorage(address)
    except Exception as error:  # SQLAlchemy's, a driver's, a missing driver
        shown = " ".join(str(error).split()).replace(address, "the address")
        raise InputError(
            f"--storage: cannot open the database ({type(error).__name__}: {shown:.200}); expected an address such as "
            "sqlite:///sweep.db or postgresql://user:password@host/name, and its driver installed"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's own lines, and its warnings of what is experimental."""
    logging = library("optuna.logging", "sweep")
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=library("optuna.exceptions", "sweep").ExperimentalWarning)
            yield
    finally:
        logging.set_verbosity(level)
