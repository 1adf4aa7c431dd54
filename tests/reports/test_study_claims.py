"""What papers say of a study's rows is answered as the tests of its verdicts have it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy
from studied import study_record

from toughen.evaluation.statistics.paired import PairedDifference
from toughen.reports.study.against import Against
from toughen.reports.study.claims import Answered, answered
from toughen.reports.study.record import Claim, StudyRecord
from toughen.reports.study.results import result_of
from toughen.run import RunFolder

CLAIM = Claim("more robust", "a paper", "A", "B")
ROWS = [("TRADES", "Standard", "robust"), ("Standard", "TRADES", "robust"), ("TRADES", "Standard", "clean")]


def of(study: StudyRecord) -> dict[str, list[Answered]]:
    return answered(study, [result_of(study, data) for data in study.rows])


@pytest.fixture
def study(make_run: Callable[..., RunFolder]) -> StudyRecord:
    return study_record(make_run, "study")


def held(study: StudyRecord, row: str, attacks: tuple[str, ...]) -> np.ndarray:
    """By network and image, from the columns of the files."""
    (record,) = [each for each in study.rows["digits"] if each.name == row]
    tables = [pq.read_table(next(run.folder.path.glob("evaluations/standard-*/*.parquet"))) for run in record.runs]
    return np.array([np.logical_and.reduce([table[name].to_numpy() for name in attacks]) for table in tables])


def test_claims_are_tested_over_seeds_and_over_images(study: StudyRecord) -> None:
    claims = tuple(Claim("so", "a paper", row, over, measure, "digits") for row, over, measure in ROWS)
    found = of(replace(study, claims=claims))["digits"]
    expected = []
    for row, over, measure in ROWS:
        attacks = ("clean",) if measure == "clean" else ("clean", "fgsm", "pgd20", "autoattack")
        first, second = held(study, row, attacks), held(study, over, attacks)
        over_seeds = scipy.stats.ttest_ind(first.mean(1), second.mean(1), equal_var=False)
        expected.append((first, second, over_seeds))
    order = np.argsort([each.pvalue for *_, each in expected])
    corrected, least = {}, 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, expected[place][2].pvalue * (3 - rank)))
        corrected[place] = least
    for place, (answer, (first, second, over_seeds)) in enumerate(zip(found, expected, strict=True)):
        test = answer.test
        assert test is not None and test.images is not None
        assert test.difference == pytest.approx(first.mean() - second.mean())
        assert test.seeds == pytest.approx(np.clip(tuple(over_seeds.confidence_interval()), -1, 1))
        assert test.p_seeds == pytest.approx(corrected[place])
        by_image = first.mean(0) - second.mean(0)
        assert test.images.difference == pytest.approx(by_image.mean())
        assert test.images.interval == pytest.approx(tuple(scipy.stats.ttest_1samp(by_image, 0).confidence_interval()))
    assert [answer.over_images for answer in found] == ["confirmed", "the other way round", "no difference told"]


def test_what_is_not_run_counts_so_that_what_is_confirmed_stays_so(study: StudyRecord) -> None:
    alone = of(replace(study, claims=(Claim("so", "a paper", "TRADES", "Standard"),)))
    more = tuple(Claim("so", "a paper", row, over) for row, over in (("TRADES", "Standard"), ("wild", "none")))
    found = of(replace(study, claims=more))
    assert [each.answer for each in found["a-data-set-with-a-long-name"]] == ["not run", "not run"]
    one, other = alone["digits"][0].test, found["digits"][0].test
    assert one is not None and other is not None and one.p_seeds is not None
    assert other.p_seeds == pytest.approx(min(1.0, 2 * one.p_seeds))  # 4 tests, in the place of 2
    assert found["digits"][1].test is None


def test_a_doubted_figure_confirms_nothing(study: StudyRecord) -> None:
    measures: list[Any] = ["robust", "clean"]
    claims = tuple(Claim("so", "a paper", "FGSM-RS", "Standard", measure) for measure in measures)
    robust, clean = of(replace(study, claims=claims))["digits"]
    assert robust.answer == "not confirmed: the figure of FGSM-RS is doubted"
    assert clean.answer == "not confirmed: no difference told over seeds"


@pytest.mark.parametrize(
    ("difference", "p_seeds", "p_images", "answer"),
    [
        (0.04, 0.01, 0.01, "confirmed over seeds"),
        (0.04, 0.20, 0.01, "not confirmed: no difference told over seeds; of these networks alone: confirmed"),
        (-0.04, 0.01, 0.01, "not confirmed: the other way round over seeds"),
        (0.04, 0.20, 0.30, "not confirmed: no difference told over seeds"),
        (0.04, None, 0.01, "confirmed of these networks alone, as there is one seed"),
        (-0.04, None, 0.01, "not confirmed: the other way round of these networks alone, as there is one seed"),
    ],
)
def test_an_answer_says_of_what_it_speaks(
    difference: float, p_seeds: float | None, p_images: float, answer: str
) -> None:
    images = PairedDifference(difference, (difference - 0.01, difference + 0.01), p_images)
    test = Against("A", "B", difference, None, p_seeds, images, p_images)
    assert Answered(CLAIM, "digits", test).answer == answer
