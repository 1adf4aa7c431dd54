"""What papers say of a study's rows is answered as the tests of its verdicts have it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy
from studied import ROWS as ROWS_OF
from studied import study_record

from toughen.evaluation.records.evaluations import Evaluations
from toughen.evaluation.statistics.paired import PairedDifference
from toughen.reports.study.against import Against
from toughen.reports.study.claims import Answered, answered
from toughen.reports.study.record import Claim, RunRecord, StudyRecord
from toughen.reports.study.results import result_of
from toughen.run import RunFolder
from toughen.run.manifest import seal

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
    assert [answer.over_images for answer in found] == [
        "confirmed",
        "significantly the other way round",
        "no significant difference",
    ]


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
    assert robust.answer == "not confirmed: gradient masking is suspected of FGSM-RS"
    assert clean.answer == "not confirmed: no significant difference"


@pytest.mark.parametrize(
    ("difference", "p_seeds", "p_images", "answer"),
    [
        (0.04, 0.01, 0.01, "confirmed"),
        (0.04, 0.20, 0.01, "not confirmed: no significant difference; of these networks alone confirmed"),
        (-0.04, 0.01, 0.01, "not confirmed: significantly the other way round"),
        (0.04, 0.20, 0.30, "not confirmed: no significant difference"),
        (0.04, None, 0.01, "not confirmed: one seed, which says nothing of others; of these networks alone confirmed"),
    ],
)
def test_an_answer_says_of_what_it_speaks(
    difference: float, p_seeds: float | None, p_images: float, answer: str
) -> None:
    images = PairedDifference(difference, (difference - 0.01, difference + 0.01), p_images)
    test = Against("A", "B", difference, None, p_seeds, images, p_images)
    assert Answered(CLAIM, "digits", test).answer == answer


@pytest.mark.parametrize(
    ("difference", "doubted", "answer"),
    [
        (0.04, ("A",), "not confirmed: gradient masking is suspected of A"),
        (-0.04, ("B",), "not confirmed: gradient masking is suspected of B"),
        (0.04, ("B",), "confirmed"),  # B's accuracy is lower than its figure at most
    ],
)
def test_a_suspected_figure_decides_nothing_in_its_own_favour(
    difference: float, doubted: tuple[str, ...], answer: str
) -> None:
    images = PairedDifference(difference, (difference - 0.01, difference + 0.01), 0.01)
    test = Against("A", "B", difference, None, 0.01, images, 0.01)
    assert Answered(CLAIM, "digits", test, doubted=doubted).answer == answer


def test_the_seeds_that_did_not_fail_answer_no_claim(study: StudyRecord) -> None:
    first, *others = study.rows["digits"]
    lost = RunRecord(2, RunFolder(study.folder / "lost"), "loss term 'ce' became NaN")
    rows = {"digits": (replace(first, runs=(*first.runs, lost)), *others)}
    claims = (Claim("so", "a paper", "TRADES", "Standard"), Claim("so", "a paper", ROWS_OF[1], "Standard"))
    lacking, whole = of(replace(study, rows=rows, claims=claims))["digits"]
    assert lacking.answer == "not run: TRADES 2 of 3 seeds; failed: loss term 'ce' became NaN"
    assert whole.test is not None


def test_p_values_against_the_best_row_are_those_of_scipy_times_their_number(study: StudyRecord) -> None:
    level = result_of(replace(study, confirm=None), "digits").top
    best, others = level.rows[0], level.rows[1:]
    assert level.best is best and len(others) == 3
    for row in others:
        expected = scipy.stats.ttest_ind(row.robust.values, best.robust.values, equal_var=False).pvalue
        assert level.tested.to_best[row.name].p_seeds == pytest.approx(min(1.0, 3 * expected))
    pairs = [each.p_seeds for each in level.tested.pairs]
    plain = [
        scipy.stats.ttest_ind(a.robust.values, b.robust.values, equal_var=False).pvalue
        for a, b in combinations(level.rows, 2)
    ]
    order, least = sorted(range(6), key=lambda place: plain[place]), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (6 - rank) * plain[place]))
        assert pairs[place] == pytest.approx(least)


def test_the_confirmed_rows_were_picked_among_all_rows(study: StudyRecord) -> None:
    first, second = result_of(study, "digits").levels
    assert (len(first.rows), len(second.rows)) == (4, 2)
    (test,) = second.tested.to_best.values()
    assert test.images is not None and test.images.p < 0.5
    assert test.p_images == pytest.approx(min(1.0, 3 * test.images.p))


def test_a_row_that_was_confirmed_in_one_lucky_seed_is_not_the_best_yet(study: StudyRecord) -> None:
    assert result_of(study, "digits").top.budget == "thorough"
    first = study.rows["digits"][0]
    shutil.rmtree(next(first.runs[0].folder.path.glob("evaluations/thorough-*")))
    result = result_of(study, "digits")
    assert (result.top.budget, result.lacking["TRADES"]) == ("standard", "second evaluation: 1 of 2 seeds")
    assert [len(row.runs) for row in result.levels[1].rows if row.name == "TRADES"] == [1]


def test_a_row_of_which_one_seed_is_there_is_not_the_best_of_rows_with_two(study: StudyRecord) -> None:
    alone = replace(study, confirm=None)
    assert result_of(alone, "digits").top.best.name == "TRADES"
    first = study.rows["digits"][0]
    shutil.rmtree(next(first.runs[0].folder.path.glob("evaluations/standard-*")))
    top = result_of(alone, "digits").top
    assert (top.rows[0].name, top.best.name) == ("TRADES", ROWS_OF[1])


def test_a_run_that_stood_still_does_not_make_its_row_slow(study: StudyRecord) -> None:
    first, *others = study.rows["digits"]
    own = {row.name: row.cost.seconds for row in result_of(study, "digits").levels[0].rows}["TRADES"]
    folder = first.runs[1].folder.path
    shutil.copytree(folder, folder.with_name("seed2"))
    head, *lines = (folder / "metrics.csv").read_text().splitlines()
    place = head.split(",").index("seconds")
    slow = [",".join([*row[:place], "700.0", *row[place + 1 :]]) for row in (line.split(",") for line in lines)]
    (folder.with_name("seed2") / "metrics.csv").write_text("\n".join([head, *slow]) + "\n")
    runs = (*first.runs, RunRecord(2, RunFolder(folder.with_name("seed2")), "", True))
    longer = replace(study, rows={"digits": (replace(first, runs=runs), *others)})
    cost = {row.name: row.cost.seconds for row in result_of(longer, "digits").levels[0].rows}["TRADES"]
    assert cost == pytest.approx(own, rel=0.5) and cost < 700


def test_a_row_has_the_cost_of_the_runs_that_it_needs(study: StudyRecord) -> None:
    first, *others = study.rows["digits"]
    own = {row.name: row.cost for row in result_of(study, "digits").levels[0].rows}
    needing = replace(study, rows={"digits": (replace(first, needs=("Standard",)), *others)})
    cost = {row.name: row.cost for row in result_of(needing, "digits").levels[0].rows}["TRADES"]
    assert cost.seconds == pytest.approx(own["TRADES"].seconds + own["Standard"].seconds)
    if own["TRADES"].flops is not None and own["Standard"].flops is not None:
        assert cost.flops == pytest.approx(own["TRADES"].flops + own["Standard"].flops)


def test_of_several_evaluations_the_one_counts_that_the_other_runs_have(study: StudyRecord) -> None:
    """One that was made by hand on more images would lead the run, and leave its seed out of the mean."""
    before = result_of(study, "digits").levels[0]
    run = study.rows["digits"][0].runs[0].folder
    kept = next(run.path.glob("evaluations/standard-*"))
    copy = kept.with_name(f"{kept.name}-more")
    shutil.copytree(kept, copy)
    result = json.loads((copy / "result.json").read_text())
    result["data"]["sha256"] = "0" * 64
    (copy / "result.json").write_text(json.dumps(result))
    (copy / "manifest.json").unlink()
    own = json.loads((kept.parent / "own.json").read_text())
    own = {**own, "evaluations": [copy.name]}
    own.pop("seal")
    (kept.parent / "own.json").write_text(json.dumps({**own, "seal": seal(own)}))
    assert Evaluations(run).all()[0][0].path == copy  # it leads the run
    after = result_of(study, "digits").levels[0]
    assert [row.robust for row in after.rows] == [row.robust for row in before.rows]
    assert "0" * 12 not in {each.protocol["hash of the test images"] for row in after.rows for _, each in row.runs}
