"""What papers say of the methods of a study, each claim answered from the verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from toughen.evaluation.statistics.intervals import holm
from toughen.reports.study.against import LEVEL, Against, against, verdicts_of
from toughen.reports.study.figures import Measured
from toughen.reports.study.record import Claim, StudyRecord
from toughen.reports.study.results import DataResult
from toughen.reports.text import points

Told = Literal["confirmed", "no difference told", "the other way round"]


@dataclass(frozen=True)
class Answered:
    """A claim on one data set, with what was measured.

    Attributes:
        claim: what is said.
        data: name of the data set.
        test: the row against the other; p-values corrected by Holm's method for all claims of the study, on each of
            their data sets. None where one of the two is not evaluated.
        doubted: reasons not to believe the robust accuracy of the row that is said to have more.
        budget: of the evaluations that are compared.
        under: the attacks of the verdicts that are paired.
    """

    claim: Claim
    data: str
    test: Against | None = None
    doubted: tuple[str, ...] = ()
    budget: str = ""
    under: tuple[str, ...] = ()

    @property
    def over_seeds(self) -> Told | None:
        """What the test over the seeds says, which speaks of the methods; None with one seed."""
        return None if self.test is None else _told(self.test.difference, self.test.p_seeds)

    @property
    def over_images(self) -> Told | None:
        """What the test over the images says, of these networks alone; None where the images differ."""
        if self.test is None or self.test.images is None:
            return None
        return _told(self.test.images.difference, self.test.p_images)

    @property
    def answer(self) -> str:
        """Confirmed, not confirmed or not run, and of what that speaks."""
        if self.test is None:
            return "not run"
        said = self.over_seeds or self.over_images
        if said is None:
            return "not run: the two were evaluated once, and on different images"
        if self.doubted:
            return f"not confirmed: the figure of {self.claim.row} is doubted"
        of = "over seeds" if self.over_seeds else "of these networks alone, as there is one seed"
        verdict = said if said == "confirmed" else f"not confirmed: {said}"
        if self.over_seeds and self.over_images not in (None, said):
            return f"{verdict} {of}; of these networks alone: {self.over_images}"
        return f"{verdict} {of}"

    def __str__(self) -> str:
        rows = f"{self.claim.row} over {self.claim.over} ({self.claim.source}), {self.claim.measure}"
        return f"{rows}: {'' if self.test is None else points(self.test.difference) + ', '}{self.answer}"


def _told(difference: float, p: float | None) -> Told | None:
    if p is None:
        return None
    if p >= LEVEL:
        return "no difference told"
    return "confirmed" if difference > 0 else "the other way round"


def answered(study: StudyRecord, results: Sequence[DataResult]) -> dict[str, list[Answered]]:
    """Each claim on each of its data sets, by data set.

    Evaluations of the first budget are compared, which all rows have. Claims that are not run count in Holm's
    correction as if they had found nothing: one that is confirmed stays so whatever is run later.

    Raises:
        RunError: verdicts that cannot be read, or contradict the recorded figures.
    """
    found = [
        _answered(claim, result) for result in results for claim in study.claims if claim.data in (None, result.name)
    ]
    tests = [each.test for each in found]
    seeds, images = (_corrected([None if test is None else getattr(test, p) for test in tests]) for p in _PS)
    for place, (each, over_seeds, over_images) in enumerate(zip(found, seeds, images, strict=True)):
        if each.test is not None:
            found[place] = replace(each, test=replace(each.test, p_seeds=over_seeds, p_images=over_images))
    return {result.name: [each for each in found if each.data == result.name] for result in results}


_PS = ("p_seeds", "p_images")


def _corrected(p_values: Sequence[float | None]) -> list[float | None]:
    corrected = holm([1.0 if p is None else p for p in p_values]) if p_values else []
    return [None if p is None else each for p, each in zip(p_values, corrected, strict=True)]


def _answered(claim: Claim, result: DataResult) -> Answered:
    rows: dict[str, Measured] = {row.name: row for row in result.levels[0].rows} if result.levels else {}
    if claim.row not in rows or claim.over not in rows:
        return Answered(claim, result.name)
    first, second = rows[claim.row], rows[claim.over]
    held, under = verdicts_of([first, second], claim.measure)
    doubted = tuple(first.masked) if claim.measure == "robust" else ()
    test = against(first, second, held, claim.measure)
    return Answered(claim, result.name, test, doubted, result.levels[0].budget, under)
