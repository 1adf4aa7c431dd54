"""Each check on tables made by hand: what it counts, where it starts to fail, and when it cannot say."""

from math import comb
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from toughen.evaluation.checks import all_checks, run_checks
from toughen.evaluation.checks.evidence import CHANCE, LEVEL, holds_more, more_than_chance
from toughen.evaluation.records.verdicts import Verdicts, verdict_schema

ATTACKS: dict[str, dict[str, Any]] = {
    "fgsm": {"attack": "FGSM", "steps": 1},
    "pgd": {"attack": "PGD", "steps": 20},
    "autoattack": {"attack": "AutoAttack", "components": ["apgd-ce", "apgd-t", "fab-t", "square"]},
    "long": {"attack": "PGD", "steps": 100, "attacked": "what the attacks before it left"},
    "square": {"attack": "Square", "queries": 20_000, "attacked": "what the attacks before it left"},
    "transfer_a": {"attack": "transfer", "steps": 50},
}
N = 100


def table_of(broken: dict[str, set[int]], by: dict[int, str] | None = None, wrong: set[int] = frozenset()) -> Verdicts:
    """A table of N images; `broken` has the images that each attack broke, `by` AutoAttack's components."""
    columns: dict[str, Any] = {
        "index": range(N),
        "label": [0] * N,
        "clean_prediction": [int(i in wrong) for i in range(N)],
        "clean_confidence": [0.9] * N,
        "clean": [i not in wrong for i in range(N)],
    }
    earlier: set[int] = set()
    for name, rows in broken.items():
        only_survivors = "attacked" in ATTACKS[name]
        seen = [i not in earlier or not only_survivors for i in range(N)]
        fell = [i in rows or i in wrong or not seen[i] for i in range(N)]
        columns[name] = [not fallen for fallen in fell]
        columns[f"{name}_norm"] = [0.0 if i in wrong else 0.1 if seen[i] and fell[i] else None for i in range(N)]
        columns[f"{name}_prediction"] = [int(fell[i]) if seen[i] else None for i in range(N)]
        columns[f"{name}_confidence"] = [0.8 if seen[i] else None for i in range(N)]
        if name == "autoattack":
            parts = {i: (by or {}).get(i, "apgd-ce") for i in rows} | dict.fromkeys(wrong, "clean")
            columns["autoattack_broken_by"] = [parts.get(i) for i in range(N)]
        earlier |= rows
    protocol = {"attacks": {name: ATTACKS[name] for name in ATTACKS}}
    schema = verdict_schema(list(broken), ["autoattack"], protocol)
    return Verdicts(
        pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()}, schema)
    )


def again(indices: range = range(N), **fell: int) -> dict[str, Any]:
    """What `SelfChecks` finds where the first so many images fall under each attack."""
    found = {"clean": 0, "noise": 0, "eps": 50, "double_eps": 80, "more_steps": 50}
    found |= {"unbounded_ce": len(indices), "unbounded_margin": len(indices)} | fell
    return {
        "self_checks": {
            "settings": {"images": len(indices), "draws": 20},
            "indices": list(indices),
            "loss": "ce",
            "steps": 20,
            "more_steps": 80,
            "eps": 0.1,
            "double_eps": 0.2,
            "held": {name: ("0" * count).ljust(len(indices), "1")[: len(indices)] for name, count in found.items()},
        }
    }


def judged(name: str, verdicts: Verdicts, analyses: dict[str, Any] | None = None) -> dict[str, Any]:
    return next(row for row in run_checks(verdicts, analyses or {})["checks"] if row["name"] == name)


SOUND = table_of({"fgsm": set(range(40)), "pgd": set(range(50)), "autoattack": set(range(55))})


FRESH = {"n": 2 * N, "differ": 0, "lost": 0, "won": 0, "copied": True, "random": False}


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({"differ": 1}, True),
        ({"differ": 8}, False),
        ({"random": True, "differ": N, "lost": N // 4, "won": N // 4}, True),
        ({"random": True, "differ": N, "lost": N, "won": N // 4}, False),
    ],
)
def test_a_fresh_copy_must_agree(change: dict, passed: bool):
    rows = run_checks(SOUND, again(), {**FRESH, **change})["checks"]
    assert rows[-1]["name"] == "fresh_copy_agrees"
    assert rows[-1]["passed"] is passed


def test_the_checks_are_found_by_their_files_and_in_order():
    names = [check.name for check in all_checks()]
    assert names == [
        "iterative_beats_single_step",
        "eps_never_helps",
        "unbounded_reaches_zero",
        "steps_never_help",
        "attack_converged",
        "noise_never_wins",
        "black_box_never_wins",
        "fresh_copy_agrees",
    ]
    assert all(check.title and "\n" not in check.title for check in all_checks())


def test_a_sound_evaluation_passes_them_all():
    result = run_checks(SOUND, again(), FRESH)
    assert [row["passed"] for row in result["checks"]] == [True] * 8
    assert result["masking_suspected"] == []
    assert all(row["message"] and "\n" not in row["message"] and row["figures"] for row in result["checks"])


def test_without_a_second_attack_the_others_are_judged():
    result = run_checks(SOUND, {})
    passed = {row["name"]: row["passed"] for row in result["checks"]}
    assert [name for name, value in passed.items() if value] == ["iterative_beats_single_step", "black_box_never_wins"]
    assert all("again" in row["message"] for row in result["checks"] if row["passed"] is None)
    assert result["masking_suspected"] == []


def test_a_model_that_is_always_wrong_cannot_be_judged():
    result = run_checks(table_of({"fgsm": set(), "pgd": set()}, wrong=set(range(N))), again())
    assert [row["passed"] for row in result["checks"]] == [None] * 8
    assert "masking_suspected" not in result


@pytest.mark.parametrize(("more", "passed"), [(0, True), (7, True), (8, False), (30, False)])
def test_a_single_step_that_breaks_more(more: int, passed: bool):
    """Of `more` images that only the single step breaks, 8 are the first that chance would hardly give: 2 / 2^8."""
    row = judged("iterative_beats_single_step", table_of({"fgsm": set(range(20 + more)), "pgd": set(range(20))}))
    assert row["passed"] is passed
    assert row["figures"] == {
        "single_step": 80 - more,
        "iterative": 80,
        "n": N,
        "p": pytest.approx(min(1, 2 ** (1 - more))),
    }
    assert "one step leaves" in row["message"]


def test_a_single_step_on_images_of_its_own_is_no_doubt():
    """Thirty that only the single step breaks, fifty that only the iterative one does."""
    verdicts = table_of({"fgsm": set(range(30)), "pgd": set(range(30, 80))})
    assert judged("iterative_beats_single_step", verdicts)["passed"] is True


def test_the_single_step_needs_an_opponent_that_saw_all_images():
    alone, unfair = table_of({"fgsm": set(range(40))}), table_of({"fgsm": set(range(40)), "long": {50}})
    for verdicts in (alone, unfair):
        row = judged("iterative_beats_single_step", verdicts)
        assert (row["passed"], row["figures"]) == (None, {})
        assert "of several steps" in row["message"]
    assert "of one step" in judged("iterative_beats_single_step", table_of({"pgd": set()}))["message"]


def test_squares_part_of_autoattack_is_not_iterative():
    """Without its Square, which broke 50 images, AutoAttack broke fewer than the single step."""
    by = dict.fromkeys(range(50), "square")
    verdicts = table_of({"fgsm": set(range(20)), "autoattack": set(range(50))}, by)
    assert judged("iterative_beats_single_step", verdicts)["figures"]["iterative"] == N


@pytest.mark.parametrize(("name", "measured"), [("eps_never_helps", "double_eps"), ("steps_never_help", "more_steps")])
@pytest.mark.parametrize(("broken", "passed"), [(100, True), (50, True), (43, True), (42, False), (0, False)])
def test_what_must_never_help_the_model(name: str, measured: str, broken: int, passed: bool):
    row = judged(name, SOUND, again(**{measured: broken}))
    assert row["passed"] is passed
    assert row["figures"]["held"] == [50, 100 - broken]
    assert "50 of 100 images (50.0 %)" in row["message"] and f"{100 - broken} of 100" in row["message"]


@pytest.mark.parametrize(("broken", "passed"), [(0, True), (55, True), (62, True), (63, False), (100, False)])
def test_an_attack_that_has_not_converged(broken: int, passed: bool):
    """The evaluation broke 55; more steps break `broken` of the same images."""
    row = judged("attack_converged", SOUND, again(more_steps=broken))
    assert row["passed"] is passed
    assert ("has not converged" in row["message"]) is not passed
    assert row["figures"]["held"] == [45, 100 - broken]


@pytest.mark.parametrize(
    ("ce", "margin", "blind"), [(0, 0, ""), (2, 2, ""), (3, 0, "cross-entropy"), (0, 90, "margin")]
)
def test_what_holds_without_a_bound(ce: int, margin: int, blind: str):
    row = judged("unbounded_reaches_zero", SOUND, again(unbounded_ce=N - ce, unbounded_margin=N - margin))
    assert row["passed"] is (not blind)
    assert row["figures"] == {"held": {"ce": ce, "margin": margin}, "n": N}
    assert (f"the {blind} gives no gradient" in row["message"]) is bool(blind)


@pytest.mark.parametrize(("broken", "passed"), [(55, True), (57, True), (58, False), (100, False)])
def test_noise_that_breaks_what_the_attacks_left(broken: int, passed: bool):
    """Images 0 to 54 fell to the attacks: noise that breaks these as well says nothing."""
    row = judged("noise_never_wins", SOUND, again(noise=broken))
    assert row["passed"] is passed
    assert row["figures"] == {"broken": broken - 55, "draws": 20, "n": N}


def test_only_images_in_the_table_are_compared():
    """Of an evaluation that was cut short: images 80 to 99 are in both, in the table's order."""
    row = judged("attack_converged", SOUND, again(range(80, 120), more_steps=15))
    assert row["figures"] == {"steps": 80, "held": [20, 5], "n": 20, "p": pytest.approx(2**-14)}
    assert row["passed"] is False
    for name in ("attack_converged", "noise_never_wins"):
        assert judged(name, SOUND, again(range(200, 240)))["passed"] is None


@pytest.mark.parametrize(("more", "passed"), [(0, True), (2, True), (3, False)])
@pytest.mark.parametrize("attack", ["autoattack", "square", "transfer_a"])
def test_a_black_box_that_breaks_more(attack: str, more: int, passed: bool):
    """By AutoAttack's Square, by Square alone, or by images of another model."""
    broken, extra = {"fgsm": set(range(30)), "pgd": set(range(40))}, set(range(40, 40 + more))
    if attack == "autoattack":
        verdicts = table_of({**broken, "autoattack": set(range(30)) | extra}, dict.fromkeys(extra, "square"))
    else:
        verdicts = table_of({**broken, attack: extra if attack == "square" else set(range(20)) | extra})
    row = judged("black_box_never_wins", verdicts)
    assert row["passed"] is passed
    assert (row["figures"]["together"], row["figures"]["n"]) == (more, N)


def test_images_wrong_without_an_attack_are_nobodys():
    verdicts = table_of({"fgsm": set(), "pgd": set(), "transfer_a": set()}, wrong=set(range(30)))
    row = judged("black_box_never_wins", verdicts)
    assert row["figures"] == {"broken": {"transfer_a": 0}, "together": 0, "n": N}


def test_without_a_black_box_there_is_nothing_to_judge():
    row = judged("black_box_never_wins", table_of({"fgsm": set(), "pgd": set()}))
    assert row["passed"] is None
    assert "--transfer" in row["message"]


def test_chance_is_the_binomial_tail():
    for n in (1, 5, 20, 360, 1000):
        for count in range(min(n, 12) + 1):
            tail = 1 - sum(comb(n, k) * CHANCE**k * (1 - CHANCE) ** (n - k) for k in range(count))
            assert more_than_chance(count, n) is (tail < LEVEL)


def test_more_is_mcnemars_word():
    """Of m images that only one of the two holds, all on one side: p = 2 / 2^m."""
    for m in range(12):
        first, second = np.zeros(40, dtype=bool), np.arange(40) < m
        assert holds_more(first, second) is (m > 0 and 2 / 2**m < LEVEL)
        assert not holds_more(second, first)
