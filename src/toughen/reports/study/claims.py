"""What papers say of the methods of a study, each claim answered from the verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from toughen.reports.study.against import LEVEL, Against, against, corrected, verdicts_of
from toughen.reports.study.figures import Measured
from toughen.reports.study.record import Claim, StudyRecord
from toughen.reports.study.results import DataResult
from toughen.reports.text import points

Told = Literal["confirmed", "no significant difference", "significantly the other way round"]


@dataclass(frozen=True)
class Answered:
    """A claim on one data set, with what was measured.

    Attributes:
        claim: what is said.
        data: name of the data set.
        test: the row against the other; p-values corrected by Holm's method for all claims of the study, on each of
            their data sets. None where a run of one of the two is not evaluated.
        lacking: which runs are not, in words.
        doubted: the rows of the two whose robust accuracy is not to be believed, by their self-checks.
        budget: of the evaluations that are compared.
        under: the attacks of the verdicts that are paired.
    """

    claim: Claim
    data: str
    test: Against | None = None
    lacking: str = ""
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
            return f"not run{self.lacking and ': '}{self.lacking}"
        said = self.over_seeds or "one seed, which says nothing of others"
        if self.claim.row in self.doubted or (self.doubted and said != "confirmed"):
            return f"not confirmed: gradient masking is suspected of {' and '.join(self.doubted)}"
        verdict = said if said == "confirmed" else f"not confirmed: {said}"
        if self.over_images not in (None, said):
            return f"{verdict}; of these networks alone {self.over_images}"
        return verdict

    def __str__(self) -> str:
        rows = f"{self.claim.row} over {self.claim.over} ({self.claim.source}), {self.claim.measure}"
        return f"{rows}: {'' if self.test is None else points(self.test.difference) + ', '}{self.answer}"


def _told(difference: float, p: float | None) -> Told | None:
    if p is None:
        return None
    if p >= LEVEL:
        return "no significant difference"
    return "confirmed" if difference > 0 else "significantly the other way round"


def answered(study: StudyRecord, results: Sequence[DataResult]) -> dict[str, list[Answered]]:
    """Each claim on each of its data sets, by data set.

    Evaluations of the first budget are compared, which all rows have, where every run of both rows has one: the mean of
    the seeds that did not fail is not that of the method. Claims that are not run count in Holm's correction as if they
    had found nothing, so that of the same claims and seeds one that is confirmed stays so whatever is run later.

    Raises:
        RunError: verdicts that cannot be read, or contradict the recorded figures.
    """
    found = [
        _answered(claim, result) for result in results for claim in study.claims if claim.data in (None, result.name)
    ]
    tests = [each.test for each in found]
    seeds, images = (corrected([None if test is None else getattr(test, p) for test in tests]) for p in _PS)
    for place, (each, over_seeds, over_images) in enumerate(zip(found, seeds, images, strict=True)):
        if each.test is not None:
            found[place] = replace(each, test=replace(each.test, p_seeds=over_seeds, p_images=over_images))
    return {result.name: [each for each in found if each.data == result.name] for result in results}


_PS = ("p_seeds", "p_images")


def _answered(claim: Claim, result: DataResult) -> Answered:
    known = {row.name: result.trained(row) for row in result.records}
    states = {name: known.get(name, "not run") for name in (claim.row, claim.over)}
    if any(states.values()):
        lacking = [f"{name} {said}" for name, said in states.items() if said not in ("", "not run")]
        return Answered(claim, result.name, lacking="; ".join(lacking))
    rows: dict[str, Measured] = {row.name: row for row in result.levels[0].rows}
    pair = rows[claim.row], rows[claim.over]
    held, under = verdicts_of(pair, claim.measure)
    doubted = tuple(row.name for row in pair if row.masked) if claim.measure == "robust" else ()
    test = against(*pair, held, claim.measure)
    return Answered(claim, result.name, test, "", doubted, result.levels[0].budget, under)
