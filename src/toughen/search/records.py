"""What is known of the trials of a sweep, and which of them are best by held-out images."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from toughen.search.space import Values

State = Literal["complete", "pruned", "failed", "begun"]
"""Begun: a worker is at work on it, or was killed and the next one goes on with it."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a sweep.

    Attributes:
        number: from 0.
        state: how it ended; see `State`.
        values: what it gave to the settings that vary.
        clean: accuracy on held-out images at the epoch that is reported, 0 to 1; None where it has not ended well.
        robust: accuracy under PGD-10 on the same images at the same epoch.
        epoch: the epoch of these figures; where it was pruned, the one after which it was.
        reason: why it failed, in a sentence.
    """

    number: int
    state: State
    values: Values
    clean: float | None = None
    robust: float | None = None
    epoch: int | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """Of its folder, such as 007."""
        return f"{self.number:03}"

    def figures(self) -> tuple[float, float]:
        """Robust and clean accuracy on held-out images; below 0 where there are none."""
        return (-1.0, -1.0) if self.robust is None or self.clean is None else (self.robust, self.clean)


def best_of(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The complete trial with the best robust accuracy, of equal ones the cleaner, then the earlier; None without any.

    >>> best_of([TrialRecord(0, "complete", {}, 0.9, 0.5), TrialRecord(1, "complete", {}, 0.8, 0.6)]).number
    1
    """
    complete = [each for each in records if each.state == "complete"]
    return max(complete, key=lambda each: (*each.figures(), -each.number), default=None)


def front_of(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The complete trials that no other one beats in one accuracy without losing in the other, the most robust first.

    >>> found = [TrialRecord(n, "complete", {}, c, r) for n, (c, r) in enumerate([(0.9, 0.5), (0.8, 0.6), (0.8, 0.5)])]
    >>> [each.number for each in front_of(found)]
    [1, 0]
    """
    front: list[TrialRecord] = []
    complete = [each for each in records if each.state == "complete"]
    for each in sorted(complete, key=lambda each: (*each.figures(), -each.number), reverse=True):
        if not front or each.figures()[1] > front[-1].figures()[1]:
            front.append(each)
    return front


@dataclass(frozen=True)
class SweepRecord:
    """What is known of a sweep, read at one moment.

    Attributes:
        folder: of the sweep; its trials are in trials/000 and so on.
        search: how values are chosen.
        planned: how many trials there are to be.
        trials: those that were begun.
        chosen: those that are evaluated on test images: the best, or the front where there are two objectives.
        importance: each setting's share of the variance of the robust accuracy; empty where too little is known.
        command: trains the best trial anew, as a run of its own; empty where none is complete.
    """

    folder: Path
    search: str
    planned: int
    trials: tuple[TrialRecord, ...]
    chosen: tuple[TrialRecord, ...]
    importance: dict[str, float]
    command: str = ""

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the best robust accuracy on held-out images."""
        return best_of(self.trials)

    @property
    def ranked(self) -> list[TrialRecord]:
        """All trials, the complete ones first, by falling robust accuracy."""
        return sorted(self.trials, key=lambda each: (each.state == "complete", *each.figures()), reverse=True)

    @property
    def done(self) -> bool:
        """Whether all trials have ended."""
        return len(self.trials) >= self.planned and all(each.state != "begun" for each in self.trials)

    def counts(self) -> str:
        """How many trials ended how, in words.

        >>> SweepRecord(Path("s"), "tpe", 3, (TrialRecord(0, "complete", {}),), (), {}).counts()
        '1 of 3 trials: 1 complete'
        """
        states = [each.state for each in self.trials]
        each = [f"{states.count(state)} {state}" for state in get_args(State) if state in states]
        return f"{len(states)} of {self.planned} trials: {', '.join(each) or 'none begun'}"

    def place(self, trial: TrialRecord) -> Path:
        """The folder of a trial's run."""
        return self.folder / "trials" / trial.name
