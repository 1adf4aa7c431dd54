"""Runs against the best of them, image by image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toughen.errors import RunError
from toughen.evaluation.records.verdicts import Verdicts
from toughen.evaluation.statistics.intervals import against_the_best, mcnemar
from toughen.run import RunFolder


@dataclass(frozen=True)
class Paired:
    """A run against the best, on the same images.

    Attributes:
        difference: robust accuracy of this run minus the best's.
        only_this: images on which only this run held.
        only_best: images on which only the best held.
        p: exact McNemar test of whether the two differ.
        p_corrected: the same, corrected for the number of runs that are tested; see `against_the_best`.
    """

    difference: float
    only_this: int
    only_best: int
    p: float
    p_corrected: float


def paired_tests(runs: Sequence[tuple[RunFolder, Mapping[str, Any]]]) -> list[Paired | None]:
    """Test every run but the first against the first.

    Args:
        runs: folder and recorded robust accuracy of each, evaluated on the same images, the best first.

    Returns:
        list[Paired | None]: one entry a run, None for the first.

    Raises:
        RunError: verdicts that cannot be read, do not give the recorded figure, or are of other images.
    """
    if not runs:
        return []
    tables = [robust_by_image(folder, recorded) for folder, recorded in runs]
    tests = []
    for (folder, _), table in zip(runs[1:], tables[1:], strict=True):
        if table.keys() != tables[0].keys():
            raise RunError(
                f"{folder.path} and {runs[0][0].path} record the same images but have verdicts of others; "
                f"evaluate again with `toughen evaluate {folder.path} --overwrite`"
            )
        best = np.array([tables[0][index] for index in table])
        tests.append(_test(np.array(list(table.values())), best))
    corrected = against_the_best([test.p for test in tests])
    return [None, *(replace(test, p_corrected=p) for test, p in zip(tests, corrected, strict=True))]


def robust_by_image(folder: RunFolder, recorded: Mapping[str, Any], leaving: Sequence[str] = ()) -> dict[int, bool]:
    """Whether the model was right without attack and under every attack, by image index.

    Args:
        folder: of the evaluation.
        recorded: its robust accuracy, as `result.json` has it.
        leaving: names of attacks that are left out.

    Raises:
        RunError: verdicts that cannot be read, or do not give the recorded figure.
    """
    verdicts = Verdicts.read(folder.verdicts)
    held = verdicts.robust()
    if (int(held.sum()), len(held)) != (recorded["held"], recorded["n"]):
        raise RunError(
            f"{folder.path}: {folder.verdicts.name} has {int(held.sum())} of {len(held)} images held, "
            f"{folder.result.name} says {recorded['held']} of {recorded['n']}; "
            f"evaluate again with `toughen evaluate {folder.path} --overwrite`"
        )
    left = verdicts.without(leaving).robust() if leaving else held
    return dict(zip(verdicts.table["index"].to_pylist(), left.tolist(), strict=True))


def _test(this: NDArray[np.bool_], best: NDArray[np.bool_]) -> Paired:
    only_this, only_best = int((this & ~best).sum()), int((best & ~this).sum())
    p = mcnemar(this, best)
    return Paired((only_this - only_best) / len(this), only_this, only_best, p, p)
