"""Several evaluated runs side by side: which of them may be compared, and in which order they come."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toughen.reports.pairing import Paired, paired_tests
from toughen.reports.run_data import read_config, read_result
from toughen.reports.text import class_name, flatten, model_name, threat_short
from toughen.run import RunFolder


@dataclass(frozen=True)
class Evaluated:
    """One evaluated run.

    Attributes:
        name: unique among the compared runs.
        folder: its run folder.
        method: class name from its configuration; a dash where it has none.
        model: the network's name.
        protocol: what its figures depend on besides the model, as text by name.
        clean: accuracy without attack: accuracy, interval, held, n.
        robust: accuracy under all attacks together; the same entries.
        settings: configuration of its training, as text by dotted name; empty where it was not trained here.
        rank: from 1; None where its figures cannot be compared with the ranked ones.
        paired: the test against the best; None for the best itself and for unranked runs.
        obstacle: why it is not ranked; empty where it is.
    """

    name: str
    folder: RunFolder
    method: str
    model: str
    protocol: dict[str, str]
    clean: dict[str, Any]
    robust: dict[str, Any]
    settings: dict[str, str]
    rank: int | None = None
    paired: Paired | None = None
    obstacle: str = ""


@dataclass(frozen=True)
class Comparison:
    """What comparing runs gave.

    Attributes:
        ranked: the runs that share one protocol, by descending robust accuracy.
        others: those whose figures cannot be compared with them; `obstacle` says why.
        differing: settings in which the runs differ: by name, one text a run, the ranked ones first.
        protocol: what the ranked runs have in common, in one line.
        page: the HTML page that shows it; None before it is written.
    """

    ranked: tuple[Evaluated, ...]
    others: tuple[Evaluated, ...]
    differing: dict[str, tuple[str, ...]]
    protocol: str
    page: Path | None = None

    @property
    def runs(self) -> tuple[Evaluated, ...]:
        """All of them, the ranked ones first."""
        return (*self.ranked, *self.others)

    def told_apart(self, really: bool, alpha: float = 0.05) -> list[str]:
        """Names of the runs that the paired tests tell apart from the best.

        Args:
            really: False for those that they do not.
            alpha: the chance of any false finding that is accepted.
        """
        return [run.name for run in self.ranked if run.paired and (run.paired.p_holm < alpha) is really]


def compare_runs(folders: Sequence[RunFolder]) -> Comparison:
    """Rank runs by robust accuracy and test each against the best.

    Figures are comparable only when they were made on the same images, under the same threat model, with the
    same attacks. The largest group of runs that agree in all of these is ranked (of two equally large ones
    the one that comes first); every other run is listed with what differs.

    Raises:
        RunError: a run without a result (the message has the command that makes it), or with verdicts that
            contradict it.
    """
    runs = [_evaluated(name, folder) for name, folder in zip(_names(folders), folders, strict=True)]
    protocols = [run.protocol for run in runs]
    common = max(protocols, key=protocols.count)
    others = tuple(replace(run, obstacle=_obstacle(run.protocol, common)) for run in runs if run.protocol != common)
    ordered = sorted((run for run in runs if run.protocol == common), key=lambda run: -run.robust["accuracy"])
    tests = paired_tests([(run.folder, run.robust) for run in ordered])
    ranked = tuple(
        replace(run, rank=rank, paired=test) for rank, (run, test) in enumerate(zip(ordered, tests, strict=True), 1)
    )
    shown = ("data", "test images", "threat", "budget")
    protocol = ", ".join(f"{name} {common[name]}" for name in shown)
    return Comparison(ranked, others, _differing([*ranked, *others]), protocol)


def _evaluated(name: str, folder: RunFolder) -> Evaluated:
    result = read_result(folder)
    folder.require(folder.verdicts)
    config = read_config(folder)
    trained = "method" in config
    return Evaluated(
        name=name,
        folder=folder,
        method=class_name(config.get("method")),
        model=model_name(config, result),
        protocol=_protocol(result),
        clean=result["figures"]["clean"],
        robust=result["robust_accuracy"],
        settings=flatten({key: value for key, value in config.items() if key != "out"}) if trained else {},
    )


def _protocol(result: dict[str, Any]) -> dict[str, str]:
    data = result["data"]
    attacks = {
        f"{attack} settings": ", ".join(f"{name}={value}" for name, value in flatten(settings).items())
        for attack, settings in result["attacks"].items()
    }
    return {
        "data": f"{data['name']} ({data['split']})",
        "test images": f"{result['sample']} {result['robust_accuracy']['n']}",
        "hash of the test images": str(data["sha256"])[:12],
        "threat": threat_short(result["threat"]),
        "budget": str(result["budget"]),
        **attacks,
    }


def _obstacle(protocol: dict[str, str], common: dict[str, str]) -> str:
    """The first things that differ, in words; what follows from them is left out."""
    different = [name for name in common | protocol if common.get(name) != protocol.get(name)]
    causes = [name for name in different if name in ("data", "test images", "threat", "budget")]
    return "; ".join(
        f"{name}: {protocol.get(name, 'none')} instead of {common.get(name, 'none')}" for name in causes or different
    )


def _names(folders: Sequence[RunFolder]) -> list[str]:
    """Folder names; whole paths where two folders have one name."""
    names = [folder.path.absolute().name for folder in folders]
    counts = Counter(names)
    return [name if counts[name] == 1 else folder.path.as_posix() for name, folder in zip(names, folders, strict=True)]


def _differing(runs: Sequence[Evaluated]) -> dict[str, tuple[str, ...]]:
    """A run that was not trained here does not count: its settings are unknown."""
    known = [run.settings for run in runs if run.settings]
    names = dict.fromkeys(name for settings in known for name in settings)
    differing = [name for name in names if len({settings.get(name) for settings in known}) > 1]
    return {name: tuple(run.settings.get(name, "-") for run in runs) for name in differing}
