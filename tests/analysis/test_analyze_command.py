"""`toughen analyze` on runs that were really trained."""

import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import toughen
from toughen.cli import main
from toughen.errors import InputError, ToughenWarning
from toughen.reports import write_report
from toughen.reports.explained import told_by_analyses
from toughen.run import RunFolder


def digest(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and "analysis" not in file.parts)
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A joint and a split network, of one epoch."""
    place = tmp_path_factory.mktemp("runs")
    small = [
        "--model",
        "SmallCNN",
        "--model.width",
        "4",
        "--epochs",
        "1",
        "--train_images",
        "256",
        "--val_images",
        "20",
    ]
    rest = ["--budget", "none", "--trackers", "[]", "--device", "cpu", "--workers", "0"]
    for method in ("TRADES", "ARAT"):
        assert main(["train", "--method", method, *small, *rest, "--out", str(place / method)]) == 0
    return [place / "TRADES", place / "ARAT"]


def test_runs_beside_each_other_are_explained_and_left_as_they_are(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [digest(run) for run in runs]
    out = tmp_path / "analysis"
    few = ["--only", "conflict,mixture,outputs,bound", "--images", "40", "--device", "cpu", "--out", str(out)]
    assert main(["analyze", *map(str, runs), *few]) == 0
    assert [digest(run) for run in runs] == before
    said = capsys.readouterr().out
    assert re.match(r"4 explanations of 2 networks take about \d+ s\n", said)
    assert "conflict (TRADES)" in said and "With split BatchNorm" in said and "With joint BatchNorm" in said
    found = json.loads((out / "analysis.json").read_text())
    assert found["images"] == 40
    assert list(found["explanations"]) == ["conflict", "mixture", "outputs", "bound"]
    pairs = [name for name in found["explanations"]["conflict"]["ARAT"]["figures"] if name.startswith("cosine/")]
    assert len(pairs) == 3  # of three terms
    # The paired difference is that of the columns that lie beside.
    columns = [pq.read_table(out / f"outputs-{run.name}.parquet")["tv_label_adversarial"].to_numpy() for run in runs]
    difference = found["differences"]["outputs"]["ARAT"]["tv_label_adversarial"]
    assert difference["value"] == pytest.approx(float((columns[1] - columns[0]).mean()), abs=1e-6)
    page = (out / "analysis.html").read_text()
    assert page.count("<svg") >= 6
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)  # nothing is loaded from anywhere


def test_an_analysis_is_not_replaced_unasked_and_lies_in_the_run(runs: list[Path]) -> None:
    done = toughen.analyze([str(runs[0])], only=["bound"], images=20, device="cpu")
    assert done.page == runs[0] / "analysis" / "analysis.html"
    with pytest.raises(InputError, match="--overwrite"):
        toughen.analyze([str(runs[0])], only=["bound"], images=20, device="cpu")
    again = toughen.analyze([str(runs[0])], only=["bound"], images=20, device="cpu", overwrite=True)
    other = toughen.analyze([str(runs[0])], only=["mixture"], images=20, device="cpu", overwrite=True)
    assert [file.name for file in sorted(other.folder.glob("*.parquet"))] == ["mixture-TRADES.parquet"]  # none stale
    (runs[0] / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="no analysis, so it stays"):
        toughen.analyze([str(runs[0])], out=str(runs[0] / "note.txt"), overwrite=True)
    first, second = (each.explanations.insights["bound"]["TRADES"].figures for each in (done, again))
    assert {name: each.value for name, each in first.items()} == {name: each.value for name, each in second.items()}


def test_a_run_s_report_tells_what_analyses_found(runs: list[Path], tmp_path: Path) -> None:
    """Of its own weights, wherever the analysis looked at them; and no longer once they are others."""
    place = tmp_path / "runs"
    copies = [Path(shutil.copytree(run, place / run.name, ignore=shutil.ignore_patterns("analysis"))) for run in runs]
    for copy in copies:
        write_report(RunFolder(copy))
    toughen.analyze([str(copies[0])], only=["mixture"], images=20, device="cpu")
    both = toughen.analyze(list(map(str, copies)), only=["bound", "outputs"], images=20, device="cpu")
    for copy in copies:
        page = html.unescape((copy / "report.html").read_text())
        for name in ("bound", "outputs"):
            sentence = both.explanations.insights[name][copy.name].sentence
            assert f'href="../analysis/analysis.html#{name}"' in page and sentence in page
        assert ('href="analysis/analysis.html#mixture"' in page) == (copy is copies[0])
        targets = [copy / link for link in re.findall(r'href="([^"#]*analysis\.html)', page)]
        assert targets and all(target.is_file() for target in targets)
    weights = copies[0] / "model.safetensors"
    weights.write_bytes((copies[1] / "model.safetensors").read_bytes())
    assert not any(each.page.startswith("analysis") for each in told_by_analyses(RunFolder(copies[0])))
    weights.write_bytes((runs[0] / "model.safetensors").read_bytes())
    for text in ("{", "[]", '{"weights": 3}', '{"explanations": {"bound": {"TRADES": "text"}}}'):
        (copies[1].parent / "analysis" / "analysis.json").write_text(text)
        with pytest.warns(ToughenWarning, match="analysis/analysis.json"):
            told = told_by_analyses(RunFolder(copies[0]))
        assert [each.explanation for each in told] == ["mixture"]


def test_runs_of_one_name_are_told_apart(runs: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "others" / "TRADES"
    shutil.copytree(runs[0], copy, ignore=shutil.ignore_patterns("analysis", "note.txt"))
    done = toughen.analyze(
        [str(runs[0]), str(copy)], only=["outputs"], images=20, device="cpu", out=str(tmp_path / "a")
    )
    assert list(done.explanations.insights["outputs"]) == [str(runs[0]), str(copy)]
    differences = done.explanations.differences("outputs")[str(copy)]
    assert {each.value for each in differences.values()} == {0.0}
    assert len(list(done.folder.glob("outputs-*.parquet"))) == 2


def test_an_unknown_explanation_and_no_run_are_said(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixture"):
        toughen.analyze([str(runs[0])], only=["mixtur"])
    with pytest.raises(InputError, match="at least one run"):
        toughen.analyze([str(tmp_path / "nothing")])
