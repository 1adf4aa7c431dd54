"""Several evaluated runs side by side: which of them may be compared, and in which order they come."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from toughen.evaluation.analyses.transfer_matrix import TransferMatrix
from toughen.reports.evaluated import Evaluated, read_evaluated
from toughen.reports.pairing import Paired, paired_tests
from toughen.reports.seed_groups import SeedGroup, seed_groups
from toughen.reports.text import percent
from toughen.run import RunFolder


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison of runs.

    Attributes:
        ranked: the runs that share one protocol, by descending robust accuracy, those whose figure is doubted last.
        others: those whose figures cannot be compared with them; `obstacle` says why.
        differing: settings in which the runs differ: by name, one text a run, the ranked ones first.
        protocol: what the ranked runs have in common, in one line.
        groups: configurations of which several seeds are ranked, the best mean first.
        transfer: what each run keeps under the adversarial images of each, in the order of `runs`; None where that was
            not asked for.
        page: the HTML page that shows it; None before it is written.
    """

    ranked: tuple[Evaluated, ...]
    others: tuple[Evaluated, ...]
    differing: dict[str, tuple[str, ...]]
    protocol: str
    groups: tuple[SeedGroup, ...] = ()
    transfer: TransferMatrix | None = None
    page: Path | None = None

    def __repr__(self) -> str:
        found = ", ".join(f"{run.name} {percent(run.robust['accuracy'])}" for run in self.ranked)
        others = f"; {len(self.others)} cannot be compared with them" if self.others else ""
        return f"Comparison(robust: {found}{others})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        rows = "".join(
            f"<tr><td>{run.rank}</td><td>{escape(run.name)}</td><td>{percent(run.robust['accuracy'])}</td>"
            f"<td>{percent(run.clean['accuracy'])}</td><td>{escape('; '.join(run.masked))}</td></tr>"
            for run in self.ranked
        )
        heads = "".join(f"<th>{head}</th>" for head in ("rank", "run", "robust", "clean", "doubts"))
        return f"<table><tr>{heads}</tr>{rows}</table><p>{escape(self.protocol)}</p>"

    @property
    def runs(self) -> tuple[Evaluated, ...]:
        """All runs, the ranked ones first."""
        return (*self.ranked, *self.others)

    @property
    def worse(self) -> list[str]:
        """Names of the runs that are significantly less robust than the best one, by the paired tests at 5 %."""
        return [run.name for run in self.ranked if run.paired and not run.masked and _is_worse(run.paired)]

    @property
    def may_be_best(self) -> list[str]:
        """Names of the runs that are not: with 95 % confidence one of them is the most robust, or the best one is."""
        return [run.name for run in self.ranked if run.paired and not run.masked and not _is_worse(run.paired)]


def _is_worse(paired: Paired) -> bool:
    return paired.p_corrected < 0.05 and paired.difference < 0


def compare_runs(folders: Sequence[RunFolder]) -> Comparison:
    """Rank runs by robust accuracy and test each against the best.

    Figures are comparable only when they were made on the same images, under the same threat model, with the
    same attacks. The largest group of runs that agree in all of these is ranked (of two equally large ones
    the one that comes first); every other run is listed with what differs. A run whose figure may be too high comes
    after those whose figure is not doubted. Estimates of an audit are ranked, but not tested.

    Raises:
        RunError: a run without a result (the message has the command that makes it), or with verdicts that
            contradict it.
    """
    runs = read_evaluated(folders)
    protocols = [run.protocol for run in runs]
    common = max(protocols, key=protocols.count)
    others = tuple(replace(run, obstacle=_obstacle(run.protocol, common)) for run in runs if run.protocol != common)
    ordered = sorted(
        (run for run in runs if run.protocol == common), key=lambda run: (bool(run.masked), -run.robust["accuracy"])
    )
    # Verdicts that an audit did not complete cannot be paired: their estimates compare by their intervals.
    exact = [] if ordered[0].estimated else [run for run in ordered if not run.estimated]
    tests = paired_tests([(run.folder, run.robust) for run in exact])
    tested = {run.name: test for run, test in zip(exact, tests, strict=True)}
    ranked = tuple(replace(run, rank=rank, paired=tested.get(run.name)) for rank, run in enumerate(ordered, 1))
    protocol = ", ".join(f"{name} {common[name]}" for name in ("data", "test images", "threat", "budget"))
    return Comparison(ranked, others, _differing([*ranked, *others]), protocol, seed_groups(ranked))


def _obstacle(protocol: dict[str, str], common: dict[str, str]) -> str:
    """The first differences that forbid a comparison, in words; what follows from them is left out."""
    different = [name for name in common | protocol if common.get(name) != protocol.get(name)]
    causes = [name for name in different if name in ("data", "test images", "threat", "budget")]
    return "; ".join(
        f"{name}: {protocol.get(name, 'none')} instead of {common.get(name, 'none')}" for name in causes or different
    )


def _differing(runs: Sequence[Evaluated]) -> dict[str, tuple[str, ...]]:
    """Settings in which the runs differ. Runs that were not trained here do not count: their settings are unknown."""
    known = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in known for name in settings)
    differing = [name for name in names if len({settings.get(name) for settings in known}) > 1]
    return {name: tuple(run.settings.get(name, "-") for run in runs) for name in differing}
