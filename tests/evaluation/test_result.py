"""What some units of an evaluation amount to, complete or not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from toughen.errors import RunError
from toughen.evaluation import Evaluation, evaluate_model, prepare
from toughen.evaluation.records.batches import BatchResult
from toughen.evaluation.result import summarise
from toughen.evaluation.runner import Runner
from toughen.threat import ThreatModel

THREAT = ThreatModel("linf", 0.08)
SETTINGS = {
    "budget": "quick",
    "test_images": 25,
    "sample": "first",
    "batch_size": 10,
    "seed": 3,
    "device": "cpu",
    "checks": False,
}


@pytest.fixture(scope="module")
def task(network, images):
    return prepare(network, images, THREAT, **SETTINGS)


@pytest.fixture(scope="module")
def units(task) -> tuple[BatchResult, ...]:
    return tuple(Runner(task).carry_out().batches)


@pytest.fixture(scope="module")
def whole(network, images) -> Evaluation:
    return evaluate_model(network, images, THREAT, **SETTINGS)


def without(units: Sequence[BatchResult], *missing: tuple[int, str]) -> list[BatchResult]:
    return [unit for unit in units if (unit.batch, unit.name) not in missing]


def test_units_are_batches_under_attacks(units):
    names = ("clean", "fgsm", "pgd20_margin")
    assert [(unit.batch, unit.name) for unit in units] == [(b, name) for b in range(3) for name in names]


def test_all_units_are_the_evaluation(task, units, whole):
    made = summarise(task.spec, list(reversed(units)))
    assert made.verdicts.table.equals(whole.verdicts.table, check_metadata=True)
    ignored = ("created", "seconds")
    assert {k: v for k, v in made.result.items() if k not in ignored} == {
        k: v for k, v in whole.result.items() if k not in ignored
    }
    assert made.result["complete"]


def test_without_a_batch_the_figures_are_over_the_others(task, units, whole):
    made = summarise(task.spec, without(units, (1, "pgd20_margin")), reason="time limit of 5 s")
    rows = whole.verdicts.table.to_pylist()
    assert made.verdicts.table.to_pylist() == rows[:10] + rows[20:]
    result = made.result
    assert (result["complete"], result["n"]) == (False, 15)
    assert result["planned"] == {"n": 25, "attacks": ["fgsm", "pgd20_margin"]}
    assert {figure["n"] for figure in result["figures"].values()} == {15}
    assert result["robust_accuracy"]["held"] == int(made.verdicts.robust().sum())
    (warning,) = result["warnings"]
    assert warning.startswith("incomplete (time limit of 5 s): 15 of 25 planned images are evaluated, the first ones")
    assert "of_all_planned" not in result


def test_a_sample_without_a_batch_says_something_of_all(task, units):
    drawn = replace(task.spec, protocol={**task.spec.protocol, "sample": "random"})
    result = summarise(drawn, without(units, (1, "pgd20_margin"))).result
    held, whole = result["robust_accuracy"]["held"], result["of_all_planned"]
    assert whole["n"] == 25
    low, high = whole["interval"]
    # The ten others may all hold, or none.
    assert held / 25 <= low < held / 15 < high <= (held + 10) / 25
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in result["warnings"][0]


def test_without_an_attack_the_figure_is_an_upper_bound(task, units, whole):
    missing = [(batch, "pgd20_margin") for batch in range(3)]
    made = summarise(task.spec, without(units, *missing, (2, "fgsm")), reason="time limit of 5 s")
    assert made.verdicts.attacks == ("fgsm",)
    assert (
        made.verdicts.table.to_pylist()
        == whole.verdicts.table.select(made.verdicts.table.column_names).to_pylist()[:20]
    )
    result = made.result
    assert (result["complete"], result["n"]) == (False, 20)
    assert list(result["figures"]) == ["clean", "fgsm"]
    assert list(result["attacks"]) == ["fgsm"]
    assert "of_all_planned" not in result
    assert result["robust_accuracy"] == result["figures"]["fgsm"]
    assert "not run: pgd20_margin; the robust accuracy is an upper bound" in result["warnings"][1]
    # The shown images are of the attack that ran.
    assert len(made.gallery["clean"]) > 0


def test_without_any_attack_nothing_is_said(task, units):
    only_clean = [unit for unit in units if unit.name == "clean"]
    with pytest.raises(RunError, match=r"nothing can be said yet.*--time_limit.*--batch_size"):
        summarise(task.spec, only_clean)


def test_units_of_different_machines_are_joined_with_a_warning(task, units, whole):
    other = [replace(u, versions={**u.versions, "device": "cuda: X"}) if u.batch == 1 else u for u in units]
    made = summarise(task.spec, other)
    assert made.verdicts.table.equals(whole.verdicts.table)
    assert made.result["versions"] == whole.result["versions"]
    assert any("different versions or devices: device cpu: " in warning for warning in made.result["warnings"])
    assert whole.result["warnings"] == []


def test_units_of_other_images_do_not_join(task, units):
    moved = replace(units[1], batch=1)
    with pytest.raises(RunError, match="other images"):
        summarise(task.spec, [*without(units, (1, "fgsm")), moved])


def test_an_analysis_that_did_not_run_is_named(task, units):
    made = summarise(task.spec, units, skipped=["curve"], reason="time limit of 5 s")
    assert made.result["warnings"] == ["not run (time limit of 5 s): curve"]
    assert made.result["complete"]


def test_accuracies_are_floats_with_the_wilson_interval_of_scipy(whole):
    table = whole.verdicts.table
    columns = {"clean": table["clean"].to_pylist(), "fgsm": table["fgsm"].to_pylist()}
    for name, held in columns.items():
        found, expected = whole.accuracies[name], binomtest(sum(held), 25).proportion_ci(method="wilson")
        assert isinstance(found, float)
        assert (found, found.held, found.n) == (sum(held) / 25, sum(held), 25)
        assert found.interval == pytest.approx((expected.low, expected.high))
    assert float(whole.robust_accuracy) == whole.verdicts.robust().mean()
    assert whole.clean_accuracy == whole.accuracies["clean"]
    assert repr(whole.robust_accuracy) in repr(whole)
    assert whole._repr_html_().count("<tr>") == 2 + len(whole.accuracies)
