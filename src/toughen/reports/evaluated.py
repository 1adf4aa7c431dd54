"""One evaluated run, as a comparison sees it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toughen.attacks.base import AUDIT
from toughen.evaluation.audit import asked_of, is_estimate
from toughen.evaluation.checks.doubts import reasons
from toughen.reports.pairing import Paired
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
        masked: titles of the reasons not to believe its robust accuracy; see `checks.doubts.reasons`.
        rank: place among the runs, from 1; None where its figures cannot be compared with the ranked ones.
        paired: the test against the best; None for the best itself and for unranked runs.
        obstacle: why it is not ranked; empty where it is.
        estimated: whether its robust accuracy is an audit's estimate: its verdicts are not those of all attacks.
    """

    name: str
    folder: RunFolder
    method: str
    model: str
    protocol: dict[str, str]
    clean: dict[str, Any]
    robust: dict[str, Any]
    settings: dict[str, str]
    masked: tuple[str, ...] = ()
    rank: int | None = None
    paired: Paired | None = None
    obstacle: str = ""
    estimated: bool = False


def read_evaluated(folders: Sequence[RunFolder]) -> list[Evaluated]:
    """Read what evaluations left in some folders; the runs have no rank yet.

    Raises:
        RunError: a run without a result (the message has the command that makes it), or a damaged file.
    """
    return [_evaluated(name, folder) for name, folder in zip(_names(folders), folders, strict=True)]


def _evaluated(name: str, folder: RunFolder) -> Evaluated:
    result = folder.read_result()
    folder.require(folder.verdicts)
    config = folder.read_config() if folder.config.exists() else {}
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
        masked=tuple(check["title"] for check in reasons(result)),
        estimated=is_estimate(result),
    )


def _protocol(result: dict[str, Any]) -> dict[str, str]:
    data = result["data"]
    known = {name: each for name, each in result["attacks"].items() if name not in result.get("further", [])}
    if asked := asked_of(result):
        known[AUDIT] = asked  # among the attacks it is only where it was shown an image
    attacks = {
        f"{attack} settings": ", ".join(f"{name}={value}" for name, value in flatten(settings).items())
        for attack, settings in known.items()
    }
    return {
        "data": f"{data['name']} ({data['split']})",
        "test images": f"{result['sample']} {result['robust_accuracy']['n']}",
        "hash of the test images": str(data["sha256"])[:12],
        "threat": threat_short(result["threat"]),
        "budget": str(result["budget"]),
        **attacks,
    }


def _names(folders: Sequence[RunFolder]) -> list[str]:
    """Folder names; whole paths where two folders have one name."""
    names = [folder.name for folder in folders]
    counts = Counter(names)
    return [name if counts[name] == 1 else folder.path.as_posix() for name, folder in zip(names, folders, strict=True)]
