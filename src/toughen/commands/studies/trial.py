"""One trial of a sweep: the run that it is, how far it came, and what its folder says of that."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypedDict

from toughen.commands.train import train
from toughen.data import ImageSet, Split
from toughen.errors import DivergedError, InputError, RunError, ToughenError
from toughen.hardware.memory import is_out_of_memory
from toughen.reading.files import read_json, readable
from toughen.reports.notebook import usual_observer
from toughen.run import RunFolder, atomic
from toughen.search.records import State, TrialRecord
from toughen.search.trials import OwnTrial
from toughen.settings.build import build
from toughen.settings.description import describe
from toughen.settings.given import Given, by_name
from toughen.settings.signature import settings_of
from toughen.training import Observer, read_rows
from toughen.training.validation import score

OUTCOME = "trial.json"
"""The file in a trial's folder that says how it ended; not there before."""


class _Outcome(TypedDict):
    """What that file says; what `TrialRecord` has."""

    number: int
    state: Literal["complete", "pruned", "failed"]
    values: dict[str, bool | int | float | str | None]
    clean: float | None
    robust: float | None
    epoch: int | None
    reason: str


class Pruned(ToughenError):
    """Ends the training of a trial that falls behind; its run is saved and can be gone on with."""


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The settings of a trial: those of all, with its own values in their places.

    Args:
        settings: of `train`, as objects.
        values: plain data by dotted name, such as method.beta.
        place: where they come from, for messages; classes that they name pass the door as those of a file do.

    Raises:
        InputError: an unknown setting, or a value that it does not take.
    """
    known, changed = settings_of(train), dict(settings)
    varied = [Given(tuple(name.split(".")), f"{place}: {name}", value, 1, file=place) for name, value in values.items()]
    for name, given in by_name(varied).items():
        usual = describe(settings[name])
        before = [] if usual is None else [Given((name,), f"--{name}", usual)]
        changed[name] = build(known[name], [*before, *given], (name,))
    return changed


def run_trial(
    trial: OwnTrial, folder: RunFolder, settings: Mapping[str, Any], observer: Observer | None
) -> TrialRecord:
    """Train a trial's network, from where a worker that was killed left it, and say how it ended.

    Nothing of the test set is read. What the settings are to blame for is an outcome; anything else ends the worker,
    and leaves the trial to the next one.

    Args:
        trial: claimed by this process.
        folder: of its run.
        settings: of `train`, the trial's own values among them.
        observer: somebody who watches the training.

    Raises:
        ToughenError: what is wrong with the data, the folder or the machine.
        Interrupted: a signal asked the process to stop; the run is saved.
    """
    if (folder.path / OUTCOME).exists():  # a kill came before the others were told
        return _read(folder)
    watcher = _Reporting(trial, observer or usual_observer())
    state: State = "complete"
    reason = ""
    try:
        train(**{**settings, "budget": "none"}, out=str(folder.path), resume="auto", observer=watcher)
    except Pruned:
        state = "pruned"
    except (DivergedError, InputError) as error:
        state, reason = "failed", str(error)
    except RunError as error:
        if not isinstance(error.__cause__, Exception) or not is_out_of_memory(error.__cause__):
            raise
        state, reason = "failed", str(error)
    return _written(folder, _record(trial, folder, settings, state, reason))


def _record(trial: OwnTrial, folder: RunFolder, settings: Mapping[str, Any], state: State, reason: str) -> TrialRecord:
    """The record of a trial that has ended, with the figures of the epoch that its run reports."""
    rows = [] if state == "failed" else read_rows(folder.metrics)
    if not rows:
        return TrialRecord(trial.number, state, trial.values, reason=reason)
    defends = settings["method"].defends
    ranked = [(score(row["val_clean"], row["val_pgd"], defends), row["epoch"], row) for row in rows]
    last = state == "pruned" or settings["select"] == "last"
    row = rows[-1] if last else max(ranked, key=lambda each: each[:2])[2]
    return TrialRecord(trial.number, state, trial.values, row["val_clean"], row["val_pgd"], int(row["epoch"]))


def _written(folder: RunFolder, record: TrialRecord) -> TrialRecord:
    """The record, kept in the trial's folder."""
    with atomic(folder.path / OUTCOME) as path:
        path.write_text(json.dumps(asdict(record), indent=2))
    return record


def outcomes(sweep: Path) -> list[TrialRecord]:
    """How the trials of a sweep in a folder ended, those that have, by their numbers.

    Raises:
        RunError: a damaged file.
    """
    return [_read(RunFolder(file.parent)) for file in sorted(sweep.glob(f"trials/*/{OUTCOME}"))]


def _read(folder: RunFolder) -> TrialRecord:
    with readable(folder.path / OUTCOME, "delete it, and the trial goes on from its checkpoint"):
        return TrialRecord(**read_json(folder.path / OUTCOME, _Outcome))


class _Reporting:
    """An observer that tells the other workers of every epoch, and ends a trial that falls behind.

    It ends with the first step of the next epoch, as the epoch before is saved by then.
    """

    def __init__(self, trial: OwnTrial, inner: Observer) -> None:
        self.trial, self.inner, self.ends = trial, inner, False

    def read(self, images: Mapping[Split, ImageSet]) -> None:
        self.inner.read(images)

    def started(self, epochs: int, steps_per_epoch: int, step: int) -> None:
        self.ends = self.trial.falls_behind
        self.inner.started(epochs, steps_per_epoch, step)

    def stepped(self, step: int) -> None:
        if self.ends:
            raise Pruned(f"trial {self.trial.number} falls behind")
        self.inner.stepped(step)

    def epoch_ended(self, row: dict[str, float]) -> None:
        self.trial.report(int(row["epoch"]), row["val_pgd"])
        self.ends = self.trial.falls_behind
        self.inner.epoch_ended(row)

    def finished(self) -> None:
        self.inner.finished()
