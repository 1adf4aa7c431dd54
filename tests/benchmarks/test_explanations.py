"""The study of the papers' explanations: its rule against SciPy, its tables against known reports, its page."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from explanations import FUNCTIONS, method_of
from explanations_claims import CLAIMS, METHODS, PUBLISHED, SEEDS, STUDIES, judge, within
from explanations_tables import function_claims, function_table, page_with, study_table, summary_table
from toughen.analysis.explanation import Figure

ROOT = Path(__file__).parents[2]


def test_the_rule_is_a_t_test_of_the_seeds() -> None:
    for differences in ([0.1, 0.12, 0.11], [0.1, -0.12, 0.11], [-0.3, -0.31, -0.29], [0.0, 0.0, 0.0]):
        judged = judge(differences, "higher")
        test = ttest_1samp(differences, 0)
        if any(differences):
            low, high = test.confidence_interval(0.95)
            assert judged.interval == pytest.approx((low, high))
        told = np.mean(differences) != 0 and test.pvalue < 0.05
        expected = ("confirmed" if np.mean(differences) > 0 else "not confirmed") if told else "not to be told"
        assert judged.verdict == expected
        swapped = {"confirmed": "not confirmed", "not confirmed": "confirmed"}
        assert judge(differences, "lower").verdict == swapped.get(expected, expected)


def test_a_seed_is_paired_by_its_images() -> None:
    drawn = np.random.default_rng(0)
    first, second = drawn.normal(1, 1, 50), drawn.normal(0, 1, 50)
    claim = next(each for each in CLAIMS if each.study == "RegMix")
    values = {claim.first.network: first, claim.second.network: second}  # type: ignore[union-attr]
    names = {each.first.figure for each in CLAIMS if each.study == "RegMix"}
    figures = {
        name: {each: Figure(own.mean(), "", values=own if each == claim.first.figure else None) for each in names}
        for name, own in values.items()
    }
    found = within(figures, "RegMix")
    assert list(found) == [claim.name]
    low, high = ttest_rel(first, second).confidence_interval(0.95)
    assert found[claim.name] == pytest.approx([first.mean() - second.mean(), low, high])


def known(effect: float) -> dict[str, Any]:
    """A report whose figures all are 0.5, but the first of each claim lies `effect` on the paper's side."""
    figures = {name: {} for name in METHODS}
    for claim in CLAIMS:
        for of in (claim.first, claim.second):
            if of is not None:
                figures[of.network][of.figure] = 0.5
    for name in METHODS:
        figures[name] |= {"bound.clean_risk": 0.5, "bound.robust_risk": 0.5}
    analyses = {}
    for study, seed in product(STUDIES, SEEDS):
        own = {name: dict(each) for name, each in figures.items()}
        for claim in CLAIMS:
            before = 0.0 if claim.second is None else own[claim.second.network][claim.second.figure]
            if claim.study == study:
                sign = 1 if claim.side == "higher" else -1
                own[claim.first.network][claim.first.figure] = before + sign * effect * (1 + seed / 10)
        analyses[f"data/{study}/{seed}"] = {"figures": own, "within": {}}
    return {"analyses": analyses, "sweeps": {}}


@pytest.mark.parametrize(("effect", "verdict"), [(0.1, "confirmed"), (-0.1, "not confirmed"), (0.0, "not to be told")])
def test_every_claim_is_judged_by_its_own_side(effect: float, verdict: str) -> None:
    # ARR's and ARoW's networks are held against two others each, and CoW's against itself: single claims, one by one.
    report = known(effect)
    for study in ("RegMix", "ARR"):
        rows = study_table(report, study).splitlines()[2:]
        assert len(rows) == sum(claim.study == study for claim in CLAIMS)
        assert all(row.endswith(f"**{verdict}** |") for row in rows)
        assert f"| {study} | {len(rows)} {verdict} |" in summary_table(report)


def test_the_table_of_functions() -> None:
    drawn = np.random.default_rng(1)
    base = {pair: drawn.uniform(0.3, 0.5) for pair in product(FUNCTIONS, FUNCTIONS)}
    base[PUBLISHED] = 0.9
    report: dict[str, Any] = {"analyses": {}, "sweeps": {}}
    for seed in SEEDS:
        report["sweeps"][f"data/{seed}"] = [
            {"clean": a, "adversarial": b, "collaborative": cag, "robust": value - 0.1 * (not cag) + 0.001 * seed}
            for (a, b), value in base.items()
            for cag in (True, False)
        ]
    table = [[cell.strip() for cell in row.split("|")[1:-1]] for row in function_table(report, "data").splitlines()]
    assert table[0][1:] == FUNCTIONS and [row[0] for row in table[2:]] == FUNCTIONS
    for row in table[2:]:
        for name, cell in zip(FUNCTIONS, row[1:], strict=True):
            value = base[row[0], name] + 0.001
            numbers = f"{value:.1%}", f"{value - 0.1:.1%}"
            best = (row[0], name) == PUBLISHED
            assert cell == (f"**{numbers[0]}** / **{numbers[1]}**" if best else " / ".join(numbers))
    gain, published = function_claims(report, "data")
    assert "+0.1 (" in gain and gain.endswith("**confirmed** |")
    assert published.endswith("**confirmed** |")


def test_networks_are_what_their_names_say() -> None:
    bare = method_of("AR-AT, none of them")
    assert not (bare.stop_gradient or bare.predictor or bare.split_bn)
    assert method_of("CoW").weight == "cow"
    assert method_of("MSE").regularizer == "mse" and method_of("MSE").gamma == 0
    assert method_of("TRADES").attack.steps == 5 and method_of("ARR").attack.steps == 3


def test_the_page_has_the_figures_that_were_measured() -> None:
    page = (ROOT / "docs" / "explanations.md").read_text()
    report = json.loads((ROOT / "benchmarks" / "results" / "explanations.json").read_text())
    assert page_with(page, report) == page
    assert page.count("confirmed** |") + page.count("told** |") >= len(CLAIMS)
