"""From the units of an evaluation to its table and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from toughen.attacks.budgets import FURTHER, further_attacks
from toughen.errors import RunError
from toughen.evaluation.checks import run_checks
from toughen.evaluation.checks.doubts import reasons
from toughen.evaluation.gallery import gallery
from toughen.evaluation.records.batches import CLEAN, BatchResult, join_units
from toughen.evaluation.records.spec import EvaluationSpec, plain
from toughen.evaluation.records.verdicts import SCHEMA, Verdicts
from toughen.evaluation.requirement import RequirementResult
from toughen.evaluation.statistics.calibration import calibration
from toughen.evaluation.statistics.per_class import confusion, per_class
from toughen.run import RunFolder, atomic
from toughen.threat import ThreatModel


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        verdicts: one row an image; all figures derive from it.
        result: figures with intervals and the whole protocol, as plain data for `result.json`.
        gallery: a few images for the report; see `gallery.gallery`.
        reused: whether it was there already and nothing was computed.
        ruling: whether it meets what was required of it; None where nothing was.
    """

    verdicts: Verdicts
    result: dict[str, Any]
    gallery: dict[str, Tensor]
    reused: bool = False
    ruling: RequirementResult | None = None

    def save(self, folder: RunFolder) -> None:
        """Write verdicts.parquet, gallery.safetensors and, last, result.json.

        Raises:
            RunError: the disk cannot be written.
        """
        folder.result.unlink(missing_ok=True)
        self.verdicts.write(folder.verdicts)
        folder.gallery.unlink(missing_ok=True)
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
        try:
            pictures = load_file(folder.gallery) if folder.gallery.exists() else {}
        except (OSError, SafetensorError) as error:
            raise RunError(f"cannot read {folder.gallery}: {error}; evaluate again with --overwrite") from error
        return cls(verdicts, result, pictures, reused=True)


def summarise(
    outline: EvaluationSpec,
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
        outline: what was to be evaluated.
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
    names, numbers = _finished(outline, done)
    threat = ThreatModel(outline.protocol["threat"]["norm"], outline.protocol["threat"]["eps"])
    later = {attack.name: attack.settings(threat) for attack in further_attacks(outline.protocol)}
    further = [name for name in later if names == outline.attacks and all(name in done[number] for number in numbers)]
    attacks = {**outline.protocol["attacks"], **{name: plain(later[name]) for name in further}}
    planned, names = names, (*names, *further)
    batches = [[done[number][name] for name in (CLEAN, *names)] for number in numbers]
    again = together(outline, [done[number][name] for number in numbers for name in planned])
    verdicts = join_units(batches, {**outline.protocol, "attacks": attacks})
    flat = [unit for batch in batches for unit in batch]
    preflight, checks = [finding.plain() for finding in outline.findings], run_checks(verdicts, analyses or {}, again)
    due = (*outline.attacks, *(FURTHER if reasons({"preflight": preflight, **checks}) else ()))
    missing = [name for name in due if name not in names]
    complete = not missing and len(verdicts) == outline.n
    warnings = [
        *([] if complete else _incomplete(outline, missing, len(verdicts), reason)),
        *(f"not run ({reason}): {name}" for name in skipped),
        *outline.warnings,
        *([_followed(verdicts, further)] if further else []),
        *(warning for unit in flat for warning in unit.warnings),
    ]
    versions, differing = _versions(flat)
    result = {
        "schema": SCHEMA,
        "key": outline.key,
        "complete": complete,
        "planned": {"n": outline.n, "attacks": list(due)},
        "robust_accuracy": verdicts.robust_accuracy(),
        "figures": {name: verdicts.accuracy(name) for name in ("clean", *names)},
        **outline.protocol,
        "attacks": {name: attacks[name] for name in names},
        **({"further": further} if further else {}),
        "n": len(verdicts),
        "versions": versions,
        "seconds": {name: round(sum(u.seconds for u in flat if u.name == name), 3) for name in names},
        "repeated": {name: sum(u.repeated for u in flat if u.name == name) for name in names},
        "preflight": preflight,
        "probe": plain(outline.probe),
        "judged_again": again,
        **checks,
        "per_class": per_class(verdicts, outline.protocol["data"]["classes"]),
        "confusion": confusion(verdicts, len(outline.protocol["data"]["classes"])),
        "calibration": calibration(verdicts),
        "analyses": dict(analyses or {}),
        "warnings": list(dict.fromkeys([*warnings, *differing])),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if outline.protocol["precision"] == "fp32":
        del result["repeated"]
    pictures = [[unit.pictures for unit in batch[1:]] for batch in batches]
    held = verdicts.robust()
    ends = [sum(outline.images_in(number) for number in numbers[: place + 1]) for place in range(len(numbers))]
    robust = [held[end - outline.images_in(number) : end] for number, end in zip(numbers, ends, strict=True)]
    return Evaluation(verdicts, result, gallery(pictures, robust))


def together(outline: EvaluationSpec, units: Sequence[BatchResult]) -> dict[str, Any]:
    """How fresh copies judged the images of all attacks; see `judge_again`. `random` as in `EvaluationSpec`."""
    told = [unit.again for unit in units if unit.again]
    return {
        **{name: sum(each[name] for each in told) for name in ("n", "differ", "lost", "won")},
        "copied": all(each["copied"] for each in told),
        "random": outline.random,
    }


def _finished(
    outline: EvaluationSpec, done: Mapping[int, Mapping[str, BatchResult]]
) -> tuple[tuple[str, ...], list[int]]:
    for count in range(len(outline.attacks), 0, -1):
        names = outline.attacks[:count]
        numbers = [number for number in sorted(done) if done[number].keys() >= {CLEAN, *names}]
        if numbers:
            return names, numbers
    raise RunError(
        f"nothing can be said yet: no batch of {outline.size} images has gone through its first attack; give more "
        "time (--time_limit), or smaller batches (--batch_size)"
    )


def _incomplete(outline: EvaluationSpec, missing: Sequence[str], n: int, reason: str) -> list[str]:
    why = f" ({reason})" if reason else ""
    warnings = [f"incomplete{why}: {n:,} of {outline.n:,} planned images are evaluated"]
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
