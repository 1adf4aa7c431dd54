"""From the units of an evaluation to its table and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from toughen.attacks.base import AUDIT
from toughen.evaluation.audit import said_of
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.gallery import gallery, read_gallery
from toughen.evaluation.partial import of_all_planned, said_of_missing
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.records.verdicts import SCHEMA, Verdicts
from toughen.evaluation.requirement import RequirementResult
from toughen.evaluation.statistics.calibration import calibration
from toughen.evaluation.statistics.per_class import confusion, per_class
from toughen.evaluation.whole import join
from toughen.reading.files import readable
from toughen.run import RunFolder, atomic
from toughen.run.manifest import check
from toughen.threat import ThreatModel


class Accuracy(float):
    """A share of images with its 95 % interval.

    Attributes:
        interval: low and high end.
        held: images that held.
        n: images in all.

    >>> Accuracy({"accuracy": 0.25, "interval": [0.2, 0.3], "held": 25, "n": 100})
    25.0 % [20.0, 30.0]
    """

    interval: tuple[float, float]
    held: int
    n: int

    def __new__(cls, figure: Mapping[str, Any]) -> "Accuracy":
        """From one of a result's figures."""
        value = super().__new__(cls, figure["accuracy"])
        low, high = figure["interval"]
        value.interval, value.held, value.n = (low, high), figure["held"], figure["n"]
        return value

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{100 * self:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        verdicts: one row an image; all figures derive from it.
        result: figures with intervals and the whole protocol, as plain data for `result.json`.
        gallery: a few images for the report; see `gallery.gallery`.
        reused: whether it was there already and nothing was computed.
        requirement: whether it meets what was required of it; None where nothing was.
        report: its page, where it lies in a folder.
        adversarial: like the evaluated images and in the order of the verdicts, where they were asked for: for each
            image the one that broke it, or the one that the last attack ended with; misclassified images stay as they
            are.
    """

    verdicts: Verdicts
    result: dict[str, Any]
    gallery: dict[str, Tensor]
    reused: bool = False
    requirement: RequirementResult | None = None
    report: Path | None = None
    adversarial: Tensor | None = None

    @property
    def robust_accuracy(self) -> Accuracy:
        """Share of images that held against every attack, a float with its 95 % interval."""
        return Accuracy(self.result["robust_accuracy"])

    @property
    def clean_accuracy(self) -> Accuracy:
        """Share of images that are classified correctly without an attack."""
        return self.accuracies["clean"]

    @property
    def accuracies(self) -> dict[str, Accuracy]:
        """Share of images that held, by attack; `clean` is without one."""
        return {name: Accuracy(figure) for name, figure in self.result["figures"].items()}

    def __repr__(self) -> str:
        threat = self.result["threat"]
        doubted = ", doubted: see result" if reasons(self.result) else ""
        return (
            f"Evaluation({ThreatModel(threat['norm'], threat['eps'])}, {self.result['budget']}: robust "
            f"{self.robust_accuracy!r}, clean {self.clean_accuracy!r}, {self.result['n']:,} images{doubted})"
        )

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        rows = [*self.accuracies.items(), ("<b>all together</b>", self.robust_accuracy)]
        cells = "".join(f"<tr><td>{name}</td><td>{value!r}</td></tr>" for name, value in rows)
        doubts = "".join(f"<p>doubted: {escape(reason['message'])}</p>" for reason in reasons(self.result))
        return f"<table><tr><th>attack</th><th>accuracy [95 % interval]</th></tr>{cells}</table>{doubts}"

    def save(self, folder: RunFolder) -> None:
        """Write verdicts.parquet, gallery.safetensors and, last, result.json into an empty folder.

        Raises:
            RunError: the disk cannot be written.
        """
        self.verdicts.write(folder.verdicts)
        if self.gallery:
            with atomic(folder.gallery) as path:
                save_file(self.gallery, path)
        folder.write_result(self.result)

    @classmethod
    def load(cls, folder: RunFolder) -> "Evaluation":
        """Read what `save` wrote.

        Raises:
            RunError: a file is missing or damaged.
        """
        result, verdicts = folder.read_result(), Verdicts.read(folder.verdicts)
        check(folder.gallery, f"make it again with `toughen evaluate {folder.run} --overwrite`")
        with readable(folder.gallery, "evaluate again with --overwrite"):
            pictures = read_gallery(folder.gallery) if folder.gallery.exists() else {}
        return cls(verdicts, result, pictures, reused=True)


def summarise(
    spec: EvaluationSpec,
    units: Sequence[BatchResult],
    *,
    analyses: Mapping[str, Any] | None = None,
    skipped: Sequence[str] = (),
    reason: str = "",
) -> Evaluation:
    """The evaluation that some units amount to.

    Where units are missing, the table holds the longest beginning of the attacks that at least one batch went through,
    for the batches that went through it, and the result says `complete: false`: fewer images, and an upper bound where
    attacks are missing. Every figure is then one of the images in the table. Attacks that followed a doubt
    (`further_attacks`) count in the robust accuracy, which is the lower for them; `further` names them. Where a doubt
    asks for them they are among what is planned, and without them the evaluation is not complete.

    Args:
        spec: what was to be evaluated.
        units: in any order.
        analyses: what the analyses found, by name.
        skipped: names of those that did not run.
        reason: why units are missing, for the warning, such as "time limit of 60 s".

    Raises:
        RunError: no batch went through its first attack.
    """
    whole = join(spec, units, analyses or {})
    verdicts, audit, names = whole.verdicts, whole.audit, tuple(whole.attacks)
    missing = [name for name in whole.due if name not in names]
    complete = not missing and whole.due_of_audit is None and len(verdicts) == spec.n
    warnings = [
        *([] if complete else said_of_missing(spec, missing, verdicts, reason, whole.due_of_audit)),
        *([] if audit is None or not audit.population else [said_of(audit.facts(verdicts.robust()))]),
        *(f"not run ({reason}): {name}" for name in skipped),
        *spec.warnings,
        *([_followed(verdicts, whole.further)] if whole.further else []),
        *(warning for unit in whole.units for warning in unit.warnings),
    ]
    versions, differing = _versions(whole.units)
    result = {
        "schema": SCHEMA,
        "key": spec.key,
        "complete": complete,
        "planned": {"n": spec.n, "attacks": list(whole.due)},
        **of_all_planned(spec, missing, verdicts),
        "robust_accuracy": verdicts.robust_accuracy() if audit is None else audit.headline(verdicts.robust()),
        "figures": {
            name: audit.headline(verdicts.held(AUDIT)) if audit and name == AUDIT else verdicts.accuracy(name)
            for name in ("clean", *names)
        },
        **{name: value for name, value in spec.protocol.items() if name != "audit"},
        "attacks": dict(whole.attacks),
        **({"further": list(whole.further)} if whole.further else {}),
        **({} if audit is None else {"audit": audit.facts(verdicts.robust())}),
        "n": len(verdicts),
        "versions": versions,
        "seconds": {name: round(sum(u.seconds for u in whole.units if u.name == name), 3) for name in names},
        "repeated": {name: sum(u.repeated for u in whole.units if u.name == name) for name in names},
        "preflight": [finding.plain() for finding in spec.findings],
        "probe": plain(spec.probe),
        "judged_again": dict(whole.again),
        **whole.checks,
        "per_class": per_class(verdicts, spec.protocol["data"]["classes"]),
        "confusion": confusion(verdicts, len(spec.protocol["data"]["classes"])),
        "calibration": calibration(verdicts),
        "analyses": dict(analyses or {}),
        "warnings": list(dict.fromkeys([*warnings, *differing])),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if spec.protocol["precision"] == "fp32":
        del result["repeated"]
    pictures = [[unit.pictures for unit in batch[1:]] for batch in whole.batches]
    ends = np.cumsum([len(batch[0].table) for batch in whole.batches])
    return Evaluation(verdicts, result, gallery(pictures, np.split(verdicts.robust(), ends[:-1])))


def _followed(verdicts: Verdicts, names: Sequence[str]) -> str:
    left, held = verdicts.without(names).robust_accuracy(), verdicts.robust_accuracy()
    return (
        f"the figure is doubted, so attacks that see no gradient followed ({', '.join(names)}): of {left['held']:,} "
        f"images that the others left they broke {left['held'] - held['held']:,}; the lower figure is reported, and "
        "the true one may be lower still"
    )


def _versions(units: Sequence[BatchResult]) -> tuple[dict[str, str], list[str]]:
    """The first unit's, and a warning where others were computed by something else."""
    first = dict(units[0].versions)
    differing = []
    for name in first:
        found = sorted({str(unit.versions.get(name)) for unit in units})
        if len(found) > 1:
            differing.append(f"{name} {' and '.join(found)}")
    if not differing:
        return first, []
    return first, [f"parts of the evaluation were computed by different versions or devices: {'; '.join(differing)}"]
