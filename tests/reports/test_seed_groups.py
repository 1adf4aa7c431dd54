"""Runs of one configuration with several seeds, in a comparison."""

import io
import statistics
from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats
from rich.console import Console

from toughen.commands.compare import compare
from toughen.reports import show_comparison
from toughen.reports.comparison import Comparison
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]


def trained(make_run: MakeRun, name: str, **changes: Any) -> RunFolder:
    """A run whose configuration has these settings too; its verdicts follow from its seed."""
    folder = make_run(name, seed=changes.get("seed", 0), strength=changes.pop("strength", 1.0))
    folder.write_config(folder.read_config() | changes)
    return folder


def compared(*folders: RunFolder) -> Comparison:
    return compare([str(folder.path) for folder in folders])


def test_mean_and_deviation_over_the_seeds(make_run: MakeRun, self_contained: Callable[[str], Any]) -> None:
    seeds = [trained(make_run, f"s{seed}", seed=seed, device=f"cuda:{seed}") for seed in range(3)]
    comparison = compared(*seeds, trained(make_run, "longer", seed=0, epochs=60, strength=0.5))
    (group,) = comparison.groups
    assert {run.name for run in group.runs} == {"s0", "s1", "s2"}
    assert sorted(group.seeds) == ["0", "1", "2"]
    assert group.title == "TRADES, epochs 30"
    for kind, spread in (("clean", group.clean), ("robust", group.robust)):
        shares = [getattr(run, kind)["accuracy"] for run in group.runs]
        assert (spread.mean, spread.std) == pytest.approx((statistics.mean(shares), statistics.stdev(shares)))
    assert comparison.page is not None
    page = self_contained(comparison.page.read_text())
    assert "TRADES, epochs 30 (3 seeds)" in page.cells
    for cell in (f"{100 * group.robust.mean:.1f} %", f"{100 * group.robust.std:.1f}"):
        assert cell in page.cells
    # The single runs stay in the ranking.
    assert {"s0", "s1", "s2", "longer"} <= set(page.cells)
    console = Console(width=100, file=io.StringIO())
    show_comparison(comparison, console)
    assert isinstance(console.file, io.StringIO)
    assert "TRADES, epochs 30 (3 seeds)" in console.file.getvalue()
    low, high = group.robust.interval
    assert f"{100 * low:.1f}-{100 * high:.1f}" in console.file.getvalue()


def test_the_better_configuration_comes_first(make_run: MakeRun) -> None:
    folders = [
        trained(make_run, f"{method}{seed}", seed=seed, method={"class_path": f"m.{method}"}, strength=strength)
        for method, strength in (("Weak", 0.4), ("Strong", 1.0))
        for seed in (1, 2)
    ]
    comparison = compared(*folders)
    best, weak = comparison.groups
    assert [best.title, weak.title] == ["Strong", "Weak"]
    assert (best.difference, best.p_corrected) == (None, None)
    first, second = ([run.robust["accuracy"] for run in group.runs] for group in (weak, best))
    assert weak.difference == pytest.approx(statistics.mean(first) - statistics.mean(second))
    assert weak.p_corrected == pytest.approx(scipy.stats.ttest_ind(first, second, equal_var=False).pvalue)
    console = Console(width=120, file=io.StringIO())
    show_comparison(comparison, console)
    assert isinstance(console.file, io.StringIO)
    (row,) = [line for line in console.file.getvalue().splitlines() if "Weak (2 seeds)" in line]
    assert row.split()[-2:] == [f"{100 * weak.difference:+.1f}", f"{weak.p_corrected:.3f}"]
    assert comparison.page is not None
    assert (
        f'<td class="number">{100 * weak.difference:+.1f} points</td><td class="number">{weak.p_corrected:.3f}</td>'
        in (comparison.page.read_text())
    )


def test_p_values_of_three_methods_are_corrected_for_two_tests(make_run: MakeRun) -> None:
    folders = [
        trained(make_run, f"{method}{seed}", seed=seed, method={"class_path": f"m.{method}"}, strength=strength)
        for method, strength in (("A", 0.9), ("B", 0.6), ("C", 0.3))
        for seed in (1, 2, 3)
    ]
    best, *rest = ([run.robust["accuracy"] for run in group.runs] for group in compared(*folders).groups)
    alone = sorted(scipy.stats.ttest_ind(each, best, equal_var=False).pvalue for each in rest)
    expected = [min(1, 2 * p) for p in alone]
    assert sorted(group.p_corrected or 0 for group in compared(*folders).groups[1:]) == pytest.approx(expected)


def test_a_title_names_what_tells_the_groups_of_one_method_apart(make_run: MakeRun) -> None:
    def method(beta: float) -> dict[str, Any]:
        return {"class_path": "m.TRADES", "init_args": {"beta": beta, "depth": 1}}

    folders = [
        trained(make_run, f"b{beta}{seed}", seed=seed, method=method(beta), strength=1 - beta / 10)
        for beta in (1.0, 3.0)
        for seed in (1, 2)
    ]
    plain = trained(make_run, "plain", seed=1, method={"class_path": "m.Standard", "init_args": {"lr": 1}})
    older = trained(make_run, "older", seed=3, method=method(3.0), strength=0.3)
    older.write_config({name: value for name, value in older.read_config().items() if name != "epochs"})
    titles = [group.title for group in compared(*folders, plain, older).groups]
    assert titles == ["TRADES, beta 1.0", "TRADES, beta 3.0"]


def test_one_seed_twice_is_no_repetition(make_run: MakeRun) -> None:
    assert compared(trained(make_run, "a", seed=1), trained(make_run, "b", seed=1)).groups == ()
    (group,) = compared(*(trained(make_run, f"x{i}", seed=seed) for i, seed in enumerate((1, 1, 2)))).groups
    assert len(group.runs) == 2


def test_runs_under_another_protocol_do_not_count(make_run: MakeRun) -> None:
    far = make_run("far", threat={"norm": "l2", "eps": 1})
    far.write_config(far.read_config() | {"seed": 5})
    near = [trained(make_run, f"n{seed}", seed=seed) for seed in (1, 2)]
    (group,) = compared(far, *near).groups
    assert {run.name for run in group.runs} == {"n1", "n2"}


def test_runs_that_were_not_trained_here_do_not_count(make_run: MakeRun) -> None:
    folders = [make_run(f"e{seed}", epochs=0, seed=seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        folder.write_config({"model": {"class_path": "my.Net"}, "seed": seed})
    assert compared(*folders).groups == ()


def test_a_configuration_whose_figure_is_doubted_is_not_the_best(make_run: MakeRun) -> None:
    folders = [
        trained(make_run, f"{method}{seed}", seed=seed, method={"class_path": f"m.{method}"}, strength=strength)
        for method, strength in (("A", 0.9), ("B", 0.6))
        for seed in (1, 2)
    ]
    doubt = {"name": "false_gradients", "severity": "doubt", "message": "the gradient is not its own"}
    folders[0].write_result(folders[0].read_result() | {"preflight": [doubt]})
    assert [group.title for group in compared(*folders).groups] == ["B", "A"]
