"""Runs that are one configuration trained with several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toughen.evaluation.statistics.intervals import against_the_best
from toughen.evaluation.statistics.seeds import Spread, over_seeds, welch
from toughen.reports.evaluated import Evaluated

# What does not change what is trained may differ within a group.
_ASIDE = ("seed", "device", "workers", "trackers", "log_every", "checkpoint_every")


@dataclass(frozen=True)
class SeedGroup:
    """One configuration over its seeds.

    Attributes:
        title: its method, and the settings that set it apart from other runs of that method, such as "TRADES, beta 3".
        runs: one a seed, in the order of their rank.
        clean: accuracy without attack, over the seeds.
        robust: accuracy under all attacks together, over the seeds.
        difference: mean robust accuracy minus that of the best configuration; None for the best itself.
        p_corrected: Welch's t-test of that difference over the seeds, corrected for the number of tests; see
            `against_the_best`.
    """

    title: str
    runs: tuple[Evaluated, ...]
    clean: Spread
    robust: Spread
    difference: float | None = None
    p_corrected: float | None = None

    @property
    def seeds(self) -> list[str]:
        """The seed of each run."""
        return [run.settings["seed"] for run in self.runs]


def seed_groups(ranked: Sequence[Evaluated]) -> tuple[SeedGroup, ...]:
    """The configurations of which several seeds are among the ranked runs, by descending mean robust accuracy.

    Those of which the figure of a run is doubted come last.

    Each is tested against the best, over the seeds: image by image only single runs can be.

    Of runs with one seed the best counts, since they are no independent repetitions.

    Args:
        ranked: runs under one protocol.
    """
    found: dict[frozenset[tuple[str, str]], dict[str, Evaluated]] = {}
    for run in ranked:
        if "seed" in run.settings:
            same = frozenset((name, value) for name, value in run.settings.items() if name not in _ASIDE)
            found.setdefault(same, {}).setdefault(run.settings["seed"], run)
    groups = [_group(tuple(runs.values()), ranked) for runs in found.values() if len(runs) > 1]
    groups.sort(key=lambda group: (any(run.masked for run in group.runs), -group.robust.mean))
    if len(groups) < 2:
        return tuple(groups)
    best, *rest = groups
    p_values = against_the_best([welch(_shares(group.runs, "robust"), _shares(best.runs, "robust")) for group in rest])
    tested = zip(rest, p_values, strict=True)
    return (best, *(replace(g, difference=g.robust.mean - best.robust.mean, p_corrected=p) for g, p in tested))


def _shares(runs: Sequence[Evaluated], kind: str) -> list[float]:
    return [getattr(run, kind)["accuracy"] for run in runs]


def _group(runs: tuple[Evaluated, ...], ranked: Sequence[Evaluated]) -> SeedGroup:
    method, settings = runs[0].method, runs[0].settings
    peers = [run.settings for run in ranked if run.settings and run.method == method]
    shared = [name for name in settings if name not in _ASIDE and all(name in peer for peer in peers)]
    named = [name for name in shared if any(peer[name] != settings[name] for peer in peers)]
    title = ", ".join([method, *(f"{name.removeprefix('method.')} {settings[name]}" for name in named)])
    return SeedGroup(title, runs, over_seeds(_shares(runs, "clean")), over_seeds(_shares(runs, "robust")))
