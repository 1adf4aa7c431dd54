"""What a report of a study is made from: the rows with the folders of their runs, and what failed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toughen.evaluation import Budget
from toughen.run import RunFolder
from toughen.search.records import TrialRecord, best_of


@dataclass(frozen=True)
class RunRecord:
    """One run of a row.

    Attributes:
        seed: its seed.
        folder: where it lies, or is to lie.
        failed: why it failed; empty where it did not.
        begun: whether evaluations of it may be there.
    """

    seed: int
    folder: RunFolder
    failed: str = ""
    begun: bool = False


@dataclass(frozen=True)
class Candidates:
    """The values that were tried for a row on held-out images, with another seed than its runs have.

    Attributes:
        folder: of the sweep.
        planned: how many combinations there are to be.
        trials: those that have ended.
    """

    folder: Path
    planned: int
    trials: tuple[TrialRecord, ...]

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return len(self.trials) >= self.planned

    @property
    def best(self) -> TrialRecord | None:
        """The one that is taken; None before all have ended."""
        return best_of(self.trials) if self.done else None


@dataclass(frozen=True)
class RowRecord:
    """A row on one data set.

    Attributes:
        name: of the row.
        data: name of the data set.
        runs: one a seed.
        chosen: how its settings were chosen; None where they were given.
        failed: why nothing could be chosen; empty where that did not fail.
        commands: what trains and evaluates each of its runs anew, and what makes the row within the study.
        passes: forward and backward passes of the network in a step; None where they could not be counted.
        defends: whether its method is a defence.
        needs: the rows whose runs its own runs are given.
    """

    name: str
    data: str
    runs: tuple[RunRecord, ...]
    chosen: Candidates | None = None
    failed: str = ""
    commands: dict[str, str] = field(default_factory=dict)
    passes: tuple[int, int] | None = None
    defends: bool = True
    needs: tuple[str, ...] = ()

    def state(self, evaluated: int) -> str:
        """How far it is, in words; empty where it is whole.

        Args:
            evaluated: how many of its runs have been.

        >>> RowRecord("TRADES", "digits", (RunRecord(0, RunFolder("a")), RunRecord(1, RunFolder("b")))).state(1)
        '1 of 2 seeds'
        """
        if evaluated == len(self.runs):
            return ""
        reasons = dict.fromkeys(each.failed for each in self.runs if each.failed)
        failed = self.failed or "; ".join(reasons)
        done = f"{evaluated} of {len(self.runs)} seeds" if evaluated else "" if failed else "not run"
        return "; ".join(filter(None, (done, failed and f"failed: {failed}")))


Measure = Literal["robust", "clean"]
"""The accuracy that a claim speaks of."""


@dataclass(frozen=True)
class Claim:
    """What is said of a method before it is measured: that it has more accuracy than another one.

    Attributes:
        text: the claim in words.
        source: the paper that makes it.
        row: the row that is said to have more.
        over: the row that it is compared with.
        measure: accuracy under all attacks together, or without attack.
        data: the data set on which it is tested; None: each one.
    """

    text: str
    source: str
    row: str
    over: str
    measure: Measure = "robust"
    data: str | None = None


@dataclass(frozen=True)
class Confirm:
    """A second evaluation by a larger budget, of the rows that are best by the first."""

    budget: Budget
    best: int


@dataclass(frozen=True)
class StudyRecord:
    """A whole study, read at one moment.

    Attributes:
        name: of the study.
        folder: where it lies.
        rows: of each data set, by its name.
        budget: of the first evaluation.
        confirm: the second one, of the best rows; None without one.
        unequal: whether rows may have been chosen from different numbers of candidates.
        about: facts of the study for the JSON: seeds, versions.
        claims: what is said of its rows.
    """

    name: str
    folder: Path
    rows: dict[str, tuple[RowRecord, ...]]
    budget: str
    confirm: Confirm | None
    unequal: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
