"""Budget fast: which images AutoAttack is shown, until when, and what is said of the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import zoo
from torch import nn

from toughen.attacks import FGSM, AutoAttack
from toughen.attacks.base import AUDIT, PlannedAttack
from toughen.attacks.budgets import attacks_of
from toughen.data import ImageSet
from toughen.errors import InputError
from toughen.evaluation import (
    Evaluation,
    EvaluationSettings,
    Requirement,
    Runner,
    Shard,
    evaluate_model,
    find_parts,
    merge_parts,
)
from toughen.evaluation.audit import Audit, parts_of
from toughen.evaluation.plan import prepare
from toughen.evaluation.preflight import Finding
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.records.store import VerdictStore
from toughen.evaluation.statistics.audit import bounds_while_drawing, interval_beyond
from toughen.evaluation.statistics.intervals import clopper_pearson, wilson
from toughen.models.inference import classes_of, frozen
from toughen.run import RunFolder
from toughen.threat import ThreatModel

pytestmark = pytest.mark.usefixtures("short_autoattack", "short_self_checks", "short_further")

N, SIZE = 30, 10
THREAT = ThreatModel("linf", 0.1)
GIVEN: dict[str, Any] = {"budget": "fast", "test_images": N, "batch_size": SIZE, "device": "cpu", "checks": False}


def fast(network: nn.Module, images: ImageSet, **settings: Any) -> Evaluation:
    return evaluate_model(network, images, THREAT, **{**GIVEN, **settings})


@pytest.fixture(scope="module")
def half(robust_network, images, shortly, short_self_checks, short_further) -> Evaluation:
    """About half of what is left is audited, in two parts."""
    with shortly():
        return fast(robust_network, images, audit=0.7)


@pytest.fixture
def weak_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheap attacks of the budget are blind."""
    weak = (PlannedAttack("fgsm", FGSM(step_size=0.001)),)
    monkeypatch.setattr("toughen.evaluation.plan.attacks_of", lambda budget, num_classes, norm: weak)


def test_the_estimate_says_what_was_shown_and_what_broke(robust_network, images, half: Evaluation) -> None:
    audit, verdicts, robust = half.result["audit"], half.verdicts, half.result["robust_accuracy"]
    left = np.logical_and.reduce([verdicts.held(name) for name in ("clean", "fgsm", "pgd20_margin", "malt")])
    seen = verdicts.table["audit_prediction"].is_valid().to_numpy()
    assert audit["left"] == left.sum() and audit["audited"] == seen.sum() == np.ceil(0.7 * left.sum())
    assert (seen <= left).all() and audit["broken"] == int((seen & ~verdicts.held(AUDIT)).sum())
    assert robust["accuracy"] == audit["estimate"] == half.result["figures"][AUDIT]["accuracy"]
    assert audit["interval"][0] <= audit["estimate"] <= audit["upper"] == verdicts.robust().mean() == robust["held"] / N
    assert robust["interval"][0] < audit["interval"][0] and half.result["complete"]
    assert any("is an estimate" in warning for warning in half.result["warnings"])


def test_a_part_is_attacked_as_a_call_of_autoattack_attacks_it(robust_network, images, half: Evaluation) -> None:
    plan = prepare(robust_network, images, THREAT, **GIVEN, audit=0.7)
    part = parts_of(half.verdicts, plan.spec, {})[1]
    rows = torch.tensor(part.table["index"].to_pylist())
    pictures, labels = images.subset(rows)
    with frozen(robust_network, "cpu") as judged:
        seed = torch.Generator().manual_seed(SIZE)  # the first part had as many images
        found = AutoAttack(10).run(judged, pictures, labels, THREAT, seed).adversarial
        held = (classes_of(judged, found) == labels).tolist()
    assert part.table[AUDIT].to_pylist() == held


def test_all_that_is_left_audited_is_exact(robust_network, images) -> None:
    whole = fast(robust_network, images, audit=1, width=0, test_images=SIZE)
    audit, robust = whole.result["audit"], whole.result["robust_accuracy"]
    assert audit["audited"] == audit["left"] > 0
    assert audit["interval"] == [audit["estimate"]] * 2 == [robust["held"] / SIZE] * 2
    assert robust == whole.verdicts.robust_accuracy()
    assert not whole.result["planned"]["attacks"][len(attacks_of("fast", 10, "linf")) + 1 :]


def test_it_stops_where_the_interval_is_as_narrow_as_asked(robust_network, images) -> None:
    unaudited = fast(robust_network, images, audit=1, width=99).result
    assert unaudited["audit"]["audited"] == 0 and unaudited["complete"] and AUDIT not in unaudited["figures"]
    assert unaudited["robust_accuracy"]["interval"][0] == 0, "nothing is known of what AutoAttack would leave"
    narrow = fast(robust_network, images, audit=1, width=30).result["audit"]
    assert SIZE <= narrow["audited"] < narrow["left"] and narrow["interval"][1] - narrow["interval"][0] <= 0.3


@pytest.mark.filterwarnings("ignore::toughen.errors.ToughenWarning")
def test_a_doubt_before_the_attacks_audits_all_or_nothing(network, images) -> None:
    masked = zoo.FalseGradient(network)
    small = {"test_images": 12, "batch_size": 12}
    all_of_it, stopped = (fast(masked, images, on_doubt=what, **small) for what in ("standard", "stop"))
    audit = all_of_it.result["audit"]
    assert audit["audited"] == audit["left"] > 6 and all_of_it.result["complete"]
    assert "audited" in stopped.result["audit"] and stopped.result["audit"]["audited"] == 0
    assert stopped.result["further"] and AUDIT not in stopped.result["figures"] and stopped.result["complete"]
    for found in (all_of_it, stopped):
        assert not Requirement.parse("checks", []).judge(found.result).met


@pytest.mark.usefixtures("weak_attacks")
def test_an_audit_that_finds_much_goes_on_to_all_or_marks_the_figure(network, images) -> None:
    """Nothing else doubts the figure: the gradient is sound, and the self-checks are off."""
    plain = fast(network, images, audit=0.4)
    audit = plain.result["audit"]
    assert audit["suspicious"] and audit["audited"] == audit["left"] and "further" not in plain.result
    stopped = fast(network, images, audit=0.4, on_doubt="stop")
    marked, seen = stopped.result["audit"], stopped.verdicts.table["audit_prediction"].is_valid().to_numpy()
    robust = stopped.verdicts.robust()
    assert marked["broken_later"] == int((seen & stopped.verdicts.held(AUDIT) & ~robust).sum())
    assert marked["estimate"] == stopped.robust_accuracy <= marked["upper"] == robust.mean()
    assert marked["suspicious"] and marked["audited"] < marked["left"] and stopped.result["further"]
    assert [reason["name"] for reason in _reasons(stopped)] == ["audit"]
    assert "doubted" in repr(stopped) and "doubted" not in repr(plain)
    assert stopped.robust_accuracy.interval[0] <= plain.robust_accuracy


def _reasons(evaluation: Evaluation) -> list[dict[str, Any]]:
    from toughen.evaluation.checks.doubts import reasons

    return reasons(evaluation.result)


def test_the_gate_allows_for_what_was_not_audited(half: Evaluation) -> None:
    robust, audit = half.result["robust_accuracy"], half.result["audit"]
    of_upper = clopper_pearson(robust["held"], N)[0]
    assert Requirement.parse(f"robust >= {of_upper - 0.0001:.6f}", []).judge({**half.result, "audit": None}).met
    assert not Requirement.parse(f"robust >= {of_upper - 0.0001:.6f}", []).judge(half.result).met
    unaudited = (audit["upper"] - audit["interval"][0]) * N
    certain = clopper_pearson(round(robust["held"] - unaudited) - 1, N, 0.99)[0]
    assert Requirement.parse(f"robust >= {certain:.6f}", []).judge(half.result).met


def test_the_gate_and_the_interval_count_what_followed_a_doubt() -> None:
    """Of 40 images left 10 are audited; AutoAttack broke 2 of them, attacks that followed 3, and 6 of the others."""
    left = np.arange(50) < 40
    protocol = {"seed": 0, "batch_size": 10, "audit": {"width": 0, "share": 0.25, "on_doubt": "stop"}}
    empty = Audit(protocol, np.arange(50), left)
    rows, others = empty.parts[0], np.concatenate(empty.parts[1:])
    unit = BatchResult(0, AUDIT, pa.table({"index": rows, AUDIT: np.arange(10) >= 2}))
    audit = Audit.of(protocol, np.arange(50), left, [unit])
    held = left.copy()
    held[np.concatenate([rows[:5], others[:6]])] = False
    facts, robust = audit.facts(held), audit.headline(held)
    assert (facts["broken"], facts["broken_later"], facts["upper"]) == (2, 3, held.mean())
    assert robust["accuracy"] == facts["estimate"] == pytest.approx(40 / 50 * 5 / 10)
    low, high = bounds_while_drawing(40, 10, 5)
    assert facts["interval"] == [(40 - high) / 50, min(40 - low, 29) / 50]
    ends = [interval_beyond(50, 40, 10, 5, 6, of_share) for of_share in (wilson, clopper_pearson)]
    assert robust["interval"] == list(ends[0])
    said = Requirement.parse("robust > 0.9", []).judge({"audit": facts, "robust_accuracy": robust, "figures": {}})
    assert f"exact 95 % interval {ends[1][0]:.4f} to {ends[1][1]:.4f}" in said.reason


class Killed(BaseException):
    """Where a process ends."""


def test_killed_in_the_audit_it_goes_on(robust_network, images, half, tmp_path, monkeypatch) -> None:
    plan, folder = prepare(robust_network, images, THREAT, **GIVEN, audit=0.7), RunFolder(tmp_path / "run")
    runs: list[int] = []
    run, write = AutoAttack.run, VerdictStore.write

    def counting(self: AutoAttack, *arguments: Any) -> Any:
        runs.append(len(arguments[1]))
        return run(self, *arguments)

    def killing(self: VerdictStore, unit: BatchResult) -> None:
        write(self, unit)
        if unit.name == AUDIT:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AutoAttack, "run", counting)
        patch.setattr(VerdictStore, "write", killing)
        with pytest.raises(Killed):
            Runner(plan, folder=folder).carry_out()
    merged = merge_parts(find_parts([folder]), reason="merging has no model")
    assert not merged.result["complete"] and merged.result["audit"]["audited"] == SIZE
    with monkeypatch.context() as patch:
        patch.setattr(AutoAttack, "run", counting)
        whole = Runner(plan, folder=folder).carry_out().summary()
    assert runs == [SIZE, half.result["audit"]["audited"] - SIZE]
    _same(whole, half, *TIMED)


def test_shards_leave_the_audit_to_who_joins_them(robust_network, images, half, tmp_path) -> None:
    plan, folder = prepare(robust_network, images, THREAT, **GIVEN, audit=0.7), RunFolder(tmp_path / "run")
    for number in (1, 2):
        Runner(plan, Shard(number, 2), folder).carry_out()
    joined = merge_parts(find_parts([folder]), reason="merging has no model")
    assert not joined.result["complete"] and "audit" in joined.result["planned"]["attacks"]
    assert not Requirement.parse("robust >= 0.01", []).judge(joined.result).met
    whole = Runner(plan, folder=folder).carry_out().summary()
    _same(whole, half, *TIMED)
    _same(merge_parts(find_parts([folder])), whole, "versions")


def test_a_finished_one_that_is_taken_up_again_has_its_parts(robust_network, images, half, tmp_path) -> None:
    plan, folder = prepare(robust_network, images, THREAT, **GIVEN, audit=0.7), RunFolder(tmp_path / "run")
    store = VerdictStore(folder, plan.spec)
    store.restore(half.verdicts, {**half.result, "repeated": {AUDIT: 3}})
    assert sum(unit.repeated for unit in store.audited()) == 3
    _same(merge_parts(find_parts([folder])), half)
    # A network may judge an image otherwise beside others: here one is wrong in its part, without an attack.
    part = store.audited()[0]
    seen = part.table.to_pydict()
    wrong = {"audit": False, "audit_norm": 0.0, "audit_prediction": None, "audit_confidence": None}
    for name, value in {**wrong, "audit_broken_by": "clean"}.items():
        seen[name][0] = value
    store.write(replace(part, table=pa.table(seen, schema=part.table.schema)))
    found = merge_parts(find_parts([folder]))
    assert found.result["audit"]["audited"] == half.result["audit"]["audited"]
    store.remove()
    store.restore(found.verdicts, found.result)
    _same(merge_parts(find_parts([folder])), found)


def test_what_was_audited_before_a_doubt_stays(robust_network, images, half, tmp_path) -> None:
    """Also where the doubt, had it come before, would have stopped the audit."""
    plan = prepare(robust_network, images, THREAT, **GIVEN, audit=0.7, on_doubt="stop")
    plan = replace(plan, spec=replace(plan.spec, findings=(Finding("false_gradients", "doubt", "found late"),)))
    folder = RunFolder(tmp_path / "run")
    VerdictStore(folder, plan.spec).restore(half.verdicts, half.result)
    found = Runner(plan, folder=folder).carry_out().summary()
    assert found.result["further"] and found.result["complete"]
    assert found.result["audit"]["audited"] == half.result["audit"]["audited"] < found.result["audit"]["left"]
    _same(merge_parts(find_parts([folder])), found)


TIMED = ("seconds", "versions")


def _same(one: Evaluation, other: Evaluation, *but: str) -> None:
    """But for what two computations differ in."""
    assert one.verdicts.table.equals(other.verdicts.table)
    first, second = ({k: v for k, v in each.result.items() if k not in ("created", *but)} for each in (one, other))
    assert first == second


def test_its_settings_are_of_budget_fast() -> None:
    with pytest.raises(InputError, match="add --budget fast"):
        EvaluationSettings(width=2)
    assert "audit" not in EvaluationSettings().protocol() and "width" not in EvaluationSettings().protocol()
    assert EvaluationSettings(budget="fast", width=2).protocol()["audit"]["width"] == 2


def audited(left: np.ndarray, breakable: np.ndarray, seed: int, size: int, width: float, share: float) -> Audit:
    """An audit as an evaluation carries it out, of images of which it is known what AutoAttack breaks."""
    protocol = {
        "seed": seed,
        "batch_size": size,
        "audit": {"width": width, "share": share, "on_doubt": "standard"},
    }
    audit = Audit(protocol, np.arange(len(left)), left)
    units: list[BatchResult] = []
    while (number := audit.next(False)) is not None:
        rows = audit.parts[number]
        columns = {"index": rows, AUDIT: ~breakable[rows]}
        units.append(BatchResult(number, AUDIT, pa.table({name: pa.array(each) for name, each in columns.items()})))
        audit = Audit.of(protocol, np.arange(len(left)), left, units)
    return audit


def simulate(cases: Sequence[tuple[int, float, float, float]], runs: int) -> Iterator[tuple[tuple, float, float]]:
    """How often the intervals miss, for each case: images, the share left, and of these the shares that AutoAttack and
    attacks that follow would break.

    The first is that of the figure on these very images, the second the gate's lower end of the true share.
    """
    for case in cases:
        images, share_left, share_broken, share_later = case
        random, missed, above = np.random.default_rng(0), 0, 0
        for seed in range(runs):
            left = random.random(images) < share_left
            breakable = left & (random.random(images) < share_broken)
            later = left & (random.random(images) < share_later)
            audit = audited(left, breakable, seed, 10, 5.0, 0.3)
            held = left & ~(breakable & _seen(audit)) & ~later
            facts = audit.facts(held)
            low, high = facts["interval"]
            missed += not low - 1e-9 <= (left & ~breakable & ~later).mean() <= high + 1e-9
            result = {"audit": facts, "robust_accuracy": audit.headline(held), "figures": {}}
            truth = share_left * (1 - share_broken) * (1 - share_later)
            above += Requirement.parse(f"robust > {truth}", []).judge(result).met
        yield case, missed / runs, above / runs


def _seen(audit: Audit) -> np.ndarray:
    seen = np.zeros(len(audit.left), dtype=bool)
    seen[np.concatenate([np.zeros(0, dtype=int), *audit.parts[: len(audit.units)]])] = True
    return seen


def test_the_audit_keeps_its_promise_in_a_simulation() -> None:
    for case, missed, above in simulate([(100, 0.6, 0.05, 0), (100, 0.6, 0.05, 0.2)], 100):
        assert missed <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5, case
        assert above <= 0.025 + 3 * (0.025 * 0.975 / 100) ** 0.5, case


@pytest.mark.nightly
def test_the_audit_keeps_its_promise_over_many_cases() -> None:
    shares = [(0, 0), (0.01, 0), (0.1, 0), (0.5, 0), (0, 0.1), (0.1, 0.1), (0.01, 0.5)]
    cases = [(n, left, *broken) for n in (60, 300) for left in (0.2, 0.9) for broken in shares]
    for case, missed, above in simulate(cases, 400):
        assert missed <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5, case
        assert above <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5, case


def test_parts_do_not_depend_on_what_is_done() -> None:
    left = np.arange(50) % 3 > 0
    fresh = Audit({"seed": 1, "batch_size": 8, "audit": {"width": 0, "share": 0.3, "on_doubt": "standard"}}, left, left)
    assert sorted(np.concatenate(fresh.parts)) == list(np.flatnonzero(left))
    assert [len(part) for part in fresh.parts] == [8, 2, 8, 8, 7]
    unfit = BatchResult(0, AUDIT, pa.table({"index": [99], AUDIT: [True]}))
    assert not Audit.of(fresh.protocol, np.arange(50), left, [unfit]).units


def test_a_page_can_be_made_of_it(half: Evaluation, tmp_path: Path) -> None:
    from toughen.reading.result import check_result

    half.save(RunFolder(tmp_path))
    check_result(Evaluation.load(RunFolder(tmp_path)).result)
