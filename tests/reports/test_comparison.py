import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from toughen.commands.compare import compare
from toughen.errors import InputError, RunError
from toughen.evaluation.records.evaluations import Evaluations
from toughen.reports import write_report
from toughen.reports.comparison import Comparison
from toughen.run import RunFolder

MakeRun = Callable[..., RunFolder]
ReadPage = Callable[[str], Any]


def compared(*folders: RunFolder) -> Comparison:
    return compare([str(folder.path) for folder in folders])


def held(folder: RunFolder) -> np.ndarray:
    columns = pq.read_table(folder.verdicts, columns=["clean", "fgsm", "pgd20", "autoattack"]).to_pydict()
    return np.array(list(columns.values())).all(axis=0)


def test_ranked_by_robust_accuracy(make_run: MakeRun) -> None:
    folders = [make_run("a", strength=0.5), make_run("b", seed=1), make_run("c", seed=2, strength=0.9)]
    result = compared(*folders)
    accuracies = [run.robust["accuracy"] for run in result.ranked]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [(run.name, run.rank) for run in result.ranked] == [("b", 1), ("c", 2), ("a", 3)]
    assert result.ranked[0].paired is None
    assert (result.ranked[0].method, result.ranked[0].model) == ("TRADES", "SmallCNN")
    assert result.others == ()


def test_paired_tests_by_hand(make_run: MakeRun) -> None:
    folders = [
        make_run("a", strength=0.9, seed=3),
        make_run("b", seed=1),
        make_run("c", seed=2, strength=0.8),
    ]
    result = compared(*folders)
    best = held(result.ranked[0].folder)
    raw = []
    for run in result.ranked[1:]:
        this = held(run.folder)
        only_this = sum(a and not b for a, b in zip(this, best, strict=True))
        only_best = sum(b and not a for a, b in zip(this, best, strict=True))
        n = only_this + only_best
        raw.append(min(1, 2 * float(binom.cdf(min(only_this, only_best), n, 0.5))))
        assert run.paired is not None
        assert (run.paired.only_this, run.paired.only_best) == (only_this, only_best)
        assert run.paired.p == pytest.approx(raw[-1])
        assert run.paired.difference == pytest.approx(this.mean() - best.mean())
    corrected = sorted(min(1, 2 * p) for p in raw)
    assert sorted(run.paired.p_corrected for run in result.ranked[1:] if run.paired) == pytest.approx(corrected)


def test_images_are_matched_by_index_not_by_row(make_run: MakeRun) -> None:
    folders = [make_run("a"), make_run("b", seed=1, strength=0.6)]
    in_order = compared(*folders).ranked[1].paired
    table = pq.read_table(folders[1].verdicts)
    pq.write_table(table.take(pa.array(np.random.default_rng(0).permutation(len(table)))), folders[1].verdicts)
    assert compared(*folders).ranked[1].paired == in_order


def test_equal_runs_may_both_be_the_best(make_run: MakeRun) -> None:
    result = compared(make_run("a"), make_run("b"), make_run("c", strength=0.1))
    assert result.may_be_best == ["b"]
    assert result.worse == ["c"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threat": {"norm": "linf", "eps": 8 / 255}}, "threat: linf 8/255 instead of linf 0.1"),
        ({"budget": "quick"}, "budget: quick instead of standard"),
        ({"sample": "random"}, "test images: random 360 instead of first 360"),
        (
            {"n": 360, "attacks": {"fgsm": {"steps": 1, "step_size": 0.2}}},
            "fgsm settings: steps=1, step_size=0.2 instead",
        ),
        (
            {"data": {"name": "digits", "split": "test", "sha256": "ff" * 32, "n_total": 360, "classes": []}},
            "hash of the test images: ffffffffffff instead of abababababab",
        ),
        (
            {"data": {"name": "mnist", "split": "test", "sha256": "ff" * 32, "n_total": 360, "classes": []}},
            "data: mnist (test) instead of digits (test)",
        ),
    ],
)
def test_a_run_of_another_protocol_is_listed_with_the_reason(make_run: MakeRun, change: dict, reason: str) -> None:
    result = compared(make_run("odd", strength=1.2, **change), make_run("a"), make_run("b", seed=1, strength=0.9))
    assert {run.name for run in result.ranked} == {"a", "b"}
    (odd,) = result.others
    assert (odd.name, odd.rank, odd.paired) == ("odd", None, None)
    assert odd.obstacle.startswith(reason)


def test_page(make_run: MakeRun, self_contained: ReadPage) -> None:
    folders = [
        make_run("a <b>"),
        make_run("b", seed=1, strength=0.5),
        make_run("c", threat={"norm": "l2", "eps": 1}),
    ]
    write_report(folders[1])
    folders[1].write_config(folders[1].read_config() | {"seed": 17})
    result = compared(*folders)
    assert result.page == folders[0].path.parent / "compare.html"
    html = result.page.read_text(encoding="utf-8")
    page = self_contained(html)
    assert len(html) < 200_000
    assert [section["id"] for section in page.all("section")] == ["ranking", "others", "settings"]
    assert "b/report.html" in list(page.addresses())
    assert "a <b>: " in page.text
    for folder in folders:
        robust = folder.read_result()["robust_accuracy"]
        assert f"{100 * robust['accuracy']:.1f} %" in page.text
    second = result.ranked[1].paired
    assert second is not None
    for cell in (
        str(second.only_this),
        str(second.only_best),
        f"{100 * second.difference:+.1f} points",
        "17",
    ):
        assert cell in page.cells
    assert "threat: l2 1 instead of linf 0.1" in page.cells


def test_a_run_that_failed_a_self_check_is_marked(make_run: MakeRun, self_contained: ReadPage) -> None:
    masked = make_run("masked", studied=True)
    write_report(masked)
    result = compared(masked, make_run("calm", seed=1, strength=0.8))
    assert [run.masked for run in result.ranked] == [(), ("A larger radius never helps the model",)]
    assert result.page is not None
    page = self_contained(result.page.read_text())
    said = "masked failed: A larger radius never helps the model"
    assert page.text.index("Gradient masking suspected") < page.text.index(said)
    assert "masked/report.html#checks" in list(page.addresses())
    assert page.text.count("masking suspected") == 2
    calm = compared(make_run("x"), make_run("y", seed=1)).page
    assert calm is not None
    assert "masking" not in self_contained(calm.read_text()).text


def test_a_doubt_of_the_preflight_demotes_a_run(make_run: MakeRun, self_contained: ReadPage) -> None:
    """A doubt that binds does, without any failed check; one that says nothing of the attacks does not."""
    found = {"severity": "doubt", "message": "the gradient is not the model's own", "figures": {}}
    doubted = make_run("doubted", strength=1.3, preflight=[{"name": "false_gradients", **found}])
    better = make_run("better", seed=1, strength=0.9, preflight=[{"name": "eps_units", **found}])
    result = compared(doubted, better, make_run("calm", seed=2, strength=0.6))
    assert result.ranked[-1].name == "doubted"
    assert result.ranked[-1].robust["accuracy"] > max(run.robust["accuracy"] for run in result.ranked[:-1])
    assert [run.masked for run in result.ranked] == [(), (), ("The gradient is the model's own",)]
    assert result.page is not None
    assert "doubted failed: The gradient is the model's own" in self_contained(result.page.read_text()).text


def test_settings_that_differ(make_run: MakeRun) -> None:
    folders = [
        make_run("a"),
        make_run("b", method="PGDAT", epochs=20, strength=0.5),
        make_run("c", epochs=0, strength=0.4),
    ]
    folders[2].write_config({"model": {"class_path": "my.Net"}, "weights": "net.safetensors"})
    differing = compared(*folders).differing
    assert differing == {"method": ("TRADES", "PGDAT", "-"), "epochs": ("30", "20", "-")}


def test_one_run(make_run: MakeRun, self_contained: ReadPage) -> None:
    result = compared(make_run())
    assert [run.name for run in result.ranked] == ["trades"]
    assert result.page is not None
    self_contained(result.page.read_text())


def test_a_run_named_twice_counts_once(make_run: MakeRun) -> None:
    folder = make_run()
    assert len(compared(folder, RunFolder(f"{folder.path}/../trades/")).runs) == 1


def test_folders_of_one_name_keep_their_paths(make_run: MakeRun) -> None:
    result = compared(make_run("x/trades"), make_run("y/trades", seed=1), make_run("other", seed=2))
    ends = sorted(run.name.rpartition("runs/")[2] for run in result.runs)
    assert ends == ["other", "x/trades", "y/trades"]
    assert result.page is not None
    assert result.page.parent.name == "runs"


def test_the_page_of_an_earlier_comparison_is_no_run(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run()
    monkeypatch.chdir(folder.path.parent)
    assert compare(["trades"]).page == Path("compare.html")
    assert len(compare(["compare.html", "trades"]).runs) == 1


def test_out(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    assert compare([str(folder.path)], out=str(tmp_path / "new" / "page.html")).page == tmp_path / "new" / "page.html"
    assert (tmp_path / "new" / "page.html").exists()
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(RunError, match=r"mine\.html exists and is not a page of toughen"):
        compare([str(folder.path)], out=str(tmp_path / "mine.html"))
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


def test_a_run_without_a_result_names_the_command(make_run: MakeRun) -> None:
    bare = make_run("bare", evaluated=False)
    with pytest.raises(RunError, match=r"no result\.json; make it with `toughen evaluate .*bare`"):
        compared(make_run(), bare)
    half = make_run("half")
    half.verdicts.unlink()
    with pytest.raises(RunError, match=r"no verdicts\.parquet; make it with `toughen evaluate .*half`"):
        compared(half)


def test_no_run() -> None:
    with pytest.raises(InputError, match=r"at least one run folder, got none; for example `toughen compare runs/\*`"):
        compare([])


def test_verdicts_that_contradict_the_result(make_run: MakeRun) -> None:
    folder = make_run()
    result = folder.read_result()
    result["robust_accuracy"]["held"] += 1
    folder.result.write_text(json.dumps(result))
    with pytest.raises(RunError, match=r"verdicts\.parquet has (\d+) of 360 images held, result\.json says"):
        compared(folder)


def test_verdicts_of_other_images(make_run: MakeRun) -> None:
    folders = [make_run("a"), make_run("b", seed=1)]
    table = pq.read_table(folders[1].verdicts)
    index = pa.array(np.arange(1, 361))
    pq.write_table(table.set_column(0, table.schema.field(0), index), folders[1].verdicts)
    with pytest.raises(RunError, match="record the same images but have verdicts of others"):
        compared(*folders)


def test_evaluations_that_are_no_headline_are_compared_by_their_folders(make_run: MakeRun) -> None:
    folders = []
    for name, strength in (("a", 1.0), ("b", 0.8)):
        run = make_run(name, strength=strength, budget="quick")
        Evaluations(run).take_in()
        folders.append(RunFolder(next(run.path.glob("evaluations/quick-*"))))
    comparison = compared(*folders)
    assert [run.name for run in comparison.ranked] == [folder.name for folder in folders]
    assert [run.name.split("/")[0] for run in comparison.ranked] == ["a", "b"]
    assert [run.method for run in comparison.ranked] == ["TRADES", "TRADES"], "as the run's configuration says"
