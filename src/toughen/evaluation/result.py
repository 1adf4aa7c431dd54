"""From the units of an evaluation to its table and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from toughen.attacks.budgets import FURTHER, further_attacks
from toughen.errors import RunError
from toughen.evaluation.checks import run_checks
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.gallery import gallery, read_gallery
from toughen.evaluation.records.batches import CLEAN, BatchResult, join_batches
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.records.verdicts import SCHEMA, Verdicts
from toughen.evaluation.requirement import RequirementResult
from toughen.evaluation.statistics.calibration import calibration
from toughen.evaluation.statistics.per_class import confusion, per_class
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
    done: dict[int, dict[str, BatchResult]] = {}
    for unit in units:
        done.setdefault(unit.batch, {})[unit.name] = unit
    names, numbers = _finished(spec, done)
    threat = ThreatModel(spec.protocol["threat"]["norm"], spec.protocol["threat"]["eps"])
    later = {attack.name: attack.settings(threat) for attack in further_attacks(spec.protocol)}
    further = [name for name in later if names == spec.attacks and all(name in done[number] for number in numbers)]
    attacks = {**spec.protocol["attacks"], **{name: plain(later[name]) for name in further}}
    planned, names = names, (*names, *further)
    batches = [[done[number][name] for name in (CLEAN, *names)] for number in numbers]
    again = together(spec, [done[number][name] for number in numbers for name in planned])
    verdicts = join_batches(batches, {**spec.protocol, "attacks": attacks})
    flat = [unit for batch in batches for unit in batch]
    preflight, checks = [finding.plain() for finding in spec.findings], run_checks(verdicts, analyses or {}, again)
    due = (*spec.attacks, *(FURTHER if reasons({"preflight": preflight, **checks}) else ()))
    missing = [name for name in due if name not in names]
    complete = not missing and len(verdicts) == spec.n
    warnings = [
        *([] if complete else _incomplete(spec, missing, len(verdicts), reason)),
        *(f"not run ({reason}): {name}" for name in skipped),
        *spec.warnings,
        *([_followed(verdicts, further)] if further else []),
        *(warning for unit in flat for warning in unit.warnings),
    ]
    versions, differing = _versions(flat)
    result = {
        "schema": SCHEMA,
        "key": spec.key,
        "complete": complete,
        "planned": {"n": spec.n, "attacks": list(due)},
        "robust_accuracy": verdicts.robust_accuracy(),
        "figures": {name: verdicts.accuracy(name) for name in ("clean", *names)},
        **spec.protocol,
        "attacks": {name: attacks[name] for name in names},
        **({"further": further} if further else {}),
        "n": len(verdicts),
        "versions": versions,
        "seconds": {name: round(sum(u.seconds for u in flat if u.name == name), 3) for name in names},
        "repeated": {name: sum(u.repeated for u in flat if u.name == name) for name in names},
        "preflight": preflight,
        "probe": plain(spec.probe),
        "judged_again": again,
        **checks,
        "per_class": per_class(verdicts, spec.protocol["data"]["classes"]),
        "confusion": confusion(verdicts, len(spec.protocol["data"]["classes"])),
        "calibration": calibration(verdicts),
        "analyses": dict(analyses or {}),
        "warnings": list(dict.fromkeys([*warnings, *differing])),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if spec.protocol["precision"] == "fp32":
        del result["repeated"]
    pictures = [[unit.pictures for unit in batch[1:]] for batch in batches]
    held = verdicts.robust()
    ends = [sum(spec.images_in(number) for number in numbers[: place + 1]) for place in range(len(numbers))]
    robust = [held[end - spec.images_in(number) : end] for number, end in zip(numbers, ends, strict=True)]
    return Evaluation(verdicts, result, gallery(pictures, robust))


def doubted(spec: EvaluationSpec, units: Sequence[BatchResult], analyses: Mapping[str, Any]) -> bool:
    """Whether the figure is not to be believed as it stands; the units of whole batches in order, or none."""
    found: dict[str, Any] = {"preflight": [finding.plain() for finding in spec.findings]}
    if units:
        size = 1 + len(spec.attacks)
        rows = [units[start : start + size] for start in range(0, len(units), size)]
        found |= run_checks(join_batches(rows, spec.protocol), analyses, together(spec, units))
    return bool(reasons(found))


def together(spec: EvaluationSpec, units: Sequence[BatchResult]) -> dict[str, Any]:
    """How fresh copies judged the images of all attacks; see `judge_again`. `random` as in `EvaluationSpec`."""
    told = [unit.again for unit in units if unit.again]
    return {
        **{name: sum(each[name] for each in told) for name in ("n", "differ", "lost", "won")},
        "copied": all(each["copied"] for each in told),
        "random": spec.random,
    }


def _finished(spec: EvaluationSpec, done: Mapping[int, Mapping[str, BatchResult]]) -> tuple[tuple[str, ...], list[int]]:
    for count in range(len(spec.attacks), 0, -1):
        names = spec.attacks[:count]
        numbers = [number for number in sorted(done) if done[number].keys() >= {CLEAN, *names}]
        if numbers:
            return names, numbers
    raise RunError(
        f"nothing can be said yet: no batch of {spec.size} images has gone through its first attack; give more "
        "time (--time_limit), or smaller batches (--batch_size)"
    )


def _incomplete(spec: EvaluationSpec, missing: Sequence[str], n: int, reason: str) -> list[str]:
    why = f" ({reason})" if reason else ""
    warnings = [f"incomplete{why}: {n:,} of {spec.n:,} planned images are evaluated"]
    if missing:
        warnings.append(
            f"incomplete{why}: not run: {', '.join(missing)}; the robust accuracy is an upper bound of what the "
            "planned attacks would leave"
        )
    return warnings


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
